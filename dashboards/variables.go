package dashboards

import "strings"

// Variables have the same name and meaning in every dashboard.

func datasourceVariable(name, label, plugin string) *Variable {
	return &Variable{Name: name, Label: label, Type: "datasource", Query: plugin, Refresh: 1, Description: "Where the data is asked for."}
}

// sensorVariable lists the sensors that sent a heartbeat in the time range.
func sensorVariable() *Variable {
	query := "SELECT DISTINCT sensor_id FROM " + database + ".heartbeats WHERE $__timeFilter_ms(timestamp) ORDER BY sensor_id LIMIT 5000"
	t := sql(query)
	t.RefID = "sensor"
	return &Variable{Name: "sensor", Label: "Sensor", Type: "query", Datasource: &clickhouseSource, Query: t, Refresh: 2, Multi: true, IncludeAll: true, AllValue: allValue,
		Current: &Option{true, []string{"All"}, []string{"$__all"}}, Description: "The sensors to look at: one, several or all."}
}

func textVariable(name, label, value, about string) *Variable {
	return &Variable{Name: name, Label: label, Type: "textbox", Query: value, Current: &Option{true, value, value}, Options: []Option{{true, value, value}}, Description: about}
}

// choiceVariable takes several of the named values.
func choiceVariable(name, label, about string, values named) *Variable {
	v := &Variable{Name: name, Label: label, Type: "custom", Multi: true, IncludeAll: true, AllValue: allValue, Description: about,
		Current: &Option{true, []string{"All"}, []string{"$__all"}}, Options: []Option{{true, "All", "$__all"}}, Query: strings.Join(values.values(), ",")}
	for _, value := range values.values() {
		v.Options = append(v.Options, Option{false, value, value})
	}
	return v
}

func processVariable() *Variable {
	return textVariable("process", "Process", "", "A path, its end (nginx finds /usr/sbin/nginx), the name of a process or its pid. Empty for any.")
}

func addressVariable() *Variable {
	return textVariable("address", "Address", "", "An address or a CIDR, of either end. Empty for any; what is no address finds nothing.")
}

func nameVariable() *Variable {
	return textVariable("name", "Name", "", "A host name; it finds the names below it too. Empty for any.")
}
