package dashboards

import (
	"time"

	"github.com/netview-project/netview/dashboards/standin"
)

// Opened is the dashboard as somebody looks at it, with everything chosen at first.
func (d *Dashboard) Opened(from, to time.Time) standin.View {
	v := standin.View{Variables: map[string]standin.Variable{}, From: from, To: to, Interval: 30 * time.Second}
	for _, variable := range d.Templating.List {
		value := standin.Variable{Values: []string{""}, Multi: variable.Multi, IncludeAll: variable.IncludeAll, AllValue: variable.AllValue}
		if variable.Type == "textbox" {
			value.Values = []string{variable.Query.(string)}
		}
		if variable.IncludeAll {
			value.Values = []string{standin.All}
		}
		v.Variables[variable.Name] = value
	}
	return v
}
