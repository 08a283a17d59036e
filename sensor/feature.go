package sensor

import "github.com/netview-project/netview/event"

// Feature is something that a sensor gives where the host lets it.
type Feature struct {
	// Name in metrics and in the heartbeat.
	Name string `json:"name"`
	// Gives is what it is for.
	Gives string `json:"gives"`
	// Off is why it does not work; empty where it does.
	Off string `json:"off,omitempty"`
	// Remedy is what makes it work.
	Remedy string `json:"remedy,omitempty"`
}

// Names of what a heartbeat reads.
const (
	collectSockets   = "socket_tables"
	collectProcesses = "processes"
)

// features says what works, after a heartbeat has tried it.
func features(collections []event.Collection) []Feature {
	const remedy = "give the root of a procfs with --path.procfs, and the right to read it"
	list := []Feature{
		{Name: collectSockets, Gives: "TCP connections, TCP and UDP listeners", Remedy: remedy},
		{Name: collectProcesses, Gives: "the process of each socket: pid, path, user, container", Remedy: remedy},
		{Name: "ebpf", Gives: "what happens between two heartbeats", Off: "not part of this version"},
	}
	for i := range list {
		for _, c := range collections {
			if c.Name == list[i].Name && c.Err != nil {
				list[i].Off = c.Err.Error()
			}
		}
		if list[i].Off == "" {
			list[i].Remedy = ""
		}
	}
	return list
}

// featureStates are the features as the heartbeat carries them.
func featureStates(list []Feature) map[string]string {
	states := map[string]string{}
	for _, f := range list {
		states[f.Name] = event.FeatureOn
		if f.Off != "" {
			states[f.Name] = event.FeatureOff + f.Off
		}
	}
	return states
}
