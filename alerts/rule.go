// Package alerts holds netview's Prometheus rules: who stands out, and what an
// engineer on call should know of. Each group has a file; every threshold and time
// is in settings.go. `make generate` writes the rule files from it.
package alerts

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/common/model"
)

// Group is evaluated in order: a record may be used by what follows it.
type Group struct {
	Name  string
	Rules []Rule
}

// Rule is a [Record] or an [Alert].
type Rule interface{ write(*Settings) rule }

// Record is a recording rule.
type Record struct{ Name, Expr string }

// Severities of an alert: somebody has to act now, in the next working hours, or
// should know.
const (
	Critical = "critical"
	Warning  = "warning"
	Info     = "info"
)

// Alert is an alerting rule. The name is its heading in runbook.md.
type Alert struct {
	Name, Severity string
	Expr           string
	// For is how long the condition must hold. Keep is how long the alert stays when
	// the condition has passed; it is for what flaps.
	For, Keep            time.Duration
	Summary, Description string
	// Dashboard is the uid of the one that shows it.
	Dashboard string
}

// Uids of the dashboards.
const (
	Summary     = "netview-summary"
	Connections = "netview-connections"
	Listening   = "netview-listening"
	Flows       = "netview-flows"
	DNS         = "netview-dns"
	Health      = "netview-health"
)

// Groups returns all rules.
func Groups(s *Settings) []Group {
	return []Group{sensors(s), delivery(s), collectors(s), standing(s), connects(s), limits(s), listeners(s), dns(s)}
}

// expr fills in what stands in braces: `rate(x[{window}]) > {most}`. Times are in
// the form of PromQL.
func expr(text string, values ...any) string {
	var pairs []string
	for i := 0; i < len(values); i += 2 {
		value := fmt.Sprint(values[i+1])
		if d, is := values[i+1].(time.Duration); is {
			value = duration(d)
		}
		pairs = append(pairs, "{"+values[i].(string)+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func duration(d time.Duration) string { return model.Duration(d).String() }

// remember is a record of when something was last seen. It holds for as long as
// what was seen may be missed, and reads no history: each evaluation takes over
// what the one before knew.
func remember(s *Settings, name, seen string) Record {
	return Record{name, seen + "\nor\n" + expr("{name} > time() - {remember}", "name", name, "remember", s.Remember.Seconds())}
}
