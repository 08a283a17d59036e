package alerts

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// rule, group and manifest have the form of Prometheus's and the operator's files.
type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Keep        string            `yaml:"keep_firing_for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations *annotations      `yaml:"annotations,omitempty"`
}

type annotations struct {
	Summary     string `yaml:"summary"`
	Description string `yaml:"description"`
	Runbook     string `yaml:"runbook_url"`
	Dashboard   string `yaml:"dashboard_url"`
}

type group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []rule `yaml:"rules"`
}

type groups struct {
	Groups []group `yaml:"groups"`
}

type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name   string            `yaml:"name"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"metadata"`
	Spec groups `yaml:"spec"`
}

func (r Record) write(*Settings) rule { return rule{Record: r.Name, Expr: r.Expr} }

func (a Alert) write(s *Settings) rule {
	r := rule{Alert: a.Name, Expr: a.Expr, Labels: map[string]string{"severity": a.Severity}, Annotations: &annotations{a.Summary, a.Description,
		s.Runbook + "#" + strings.ToLower(a.Name), s.Dashboards + "/d/" + a.Dashboard + "?var-sensor={{ $labels.sensor_id }}"}}
	if !strings.Contains(a.Summary+a.Description, "$labels.sensor_id") { // it is of the fleet, or of a collector
		r.Annotations.Dashboard = s.Dashboards + "/d/" + a.Dashboard
	}
	if a.For > 0 {
		r.For = duration(a.For)
	}
	if a.Keep > 0 {
		r.Keep = duration(a.Keep)
	}
	return r
}

func write(s *Settings, g Group) group {
	w := group{Name: g.Name, Interval: duration(s.Interval)}
	for _, r := range g.Rules {
		w.Rules = append(w.Rules, r.write(s))
	}
	return w
}

const generated = "# Made by `make generate` from package alerts; its settings.go has every threshold.\n"

// Files returns the rule files for Prometheus, one for each group, and the
// PrometheusRule for its operator, by name.
func Files(s *Settings) (map[string][]byte, error) {
	files := map[string][]byte{}
	operator := manifest{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}
	operator.Metadata.Name, operator.Metadata.Labels = "netview", map[string]string{"app.kubernetes.io/name": "netview"}
	for _, g := range Groups(s) {
		w := write(s, g)
		operator.Spec.Groups = append(operator.Spec.Groups, w)
		text, err := encode(groups{[]group{w}})
		if err != nil {
			return nil, err
		}
		files["rules/"+g.Name+".yaml"] = text
	}
	text, err := encode(operator)
	files["prometheusrule.yaml"] = text
	return files, err
}

func encode(what any) ([]byte, error) {
	text := bytes.NewBufferString(generated)
	encoder := yaml.NewEncoder(text)
	encoder.SetIndent(2)
	err := encoder.Encode(what)
	return text.Bytes(), err
}
