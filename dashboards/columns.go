package dashboards

// Columns that several tables have, each with where it leads.

var inSensor = []string{"sensor", of("sensor_id")}

func with(first []string, more ...string) []string {
	return append(append([]string{}, first...), more...)
}

func sensorColumn() field {
	return word("sensor_id", "Sensor", 172).to(leadTo("Summary of this sensor", Summary, inSensor...), leadTo("Health of this sensor", Health, inSensor...), leadTo("Connections of this sensor", Connections, inSensor...))
}

func staleColumn() field { return state("stale", "Seen", liveness).as("toUInt8(stale)").wide(60) }

// processColumn leads to what the process did; a kernel socket has none. It takes the
// room that others leave.
func processColumn() field { return processBy("binary") }

// programColumn is the same by name, where there is no room for a path.
func programColumn() field { return processBy("process_name") }

func processBy(column string) field {
	return word(column, "Process", 0).to(leadTo("Events of this process", Events, with(inSensor, "process", of(column))...), leadTo("Flows of this process", Flows, with(inSensor, "process", of(column))...))
}

func pidColumn() field {
	return word("pid", "Pid", 75).to(leadTo("Events of this pid", Events, with(inSensor, "process", of("pid"))...))
}

func addressColumn(name, title string) field {
	return word(name, title, 130).to(leadTo("Flows with this address", Flows, "address", of(name)), leadTo("Events with this address", Events, "address", of(name)))
}

func portColumn(name, title string) field {
	return state(name, title, ports).wide(115).to(leadTo("Events of this port", Events, "port", of(name)))
}

func nameColumn(name, title string) field {
	return word(name, title, 170).to(leadTo("DNS of this name", DNS, "name", of(name)), leadTo("Events of this name", Events, "name", of(name)))
}

func timeColumn(name, title string) field {
	return field{name: name, title: title, unit: moment, width: 130}
}

// exactTimeColumn tells which of the events of a second came first.
func exactTimeColumn(name, title string) field {
	return field{name: name, title: title, unit: exactMoment, width: 155}
}

func resentColumn() field {
	return number("retransmits", "Resent", count).judged(levels("text", 100., orange)).wide(75)
}

func serversColumn() field {
	return word("asked", "Servers", 130).as("arrayStringConcat(servers, ', ')")
}

func containerColumn() field { return word("container_id", "Container", 125) }

func userColumn() field { return word("user", "User", 100) }
