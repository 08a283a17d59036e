package dashboards

import (
	"slices"
	"strings"
)

// Colours say the same everywhere: green works, yellow is on its way, orange wants
// a look, red failed, pale red did not even answer, grey is over or not known.
const (
	green   = "green"
	blue    = "blue"
	purple  = "purple"
	yellow  = "yellow"
	orange  = "orange"
	red     = "red"
	paleRed = "super-light-red"
	grey    = "#8e8e8e"
)

// Units of Grafana.
const (
	plain     = "none"
	count     = "locale" // thousands apart
	seconds   = "s"
	size      = "bytes" // of 1024
	perSecond = "suffix:/s"
	byteRate  = "Bps"
	ratio     = "percentunit"
	// Times of tables: the year is that of the time range.
	moment      = "time:MM-DD HH:mm:ss"
	exactMoment = "time:MM-DD HH:mm:ss.SSS"
)

// shown is a value with its text and colour; /…/ is a pattern of values.
type shown struct{ value, text, color string }

// named are values that mean something: where the text is empty the value stands.
type named []shown

func (n named) mappings() (mappings []Mapping) {
	options := map[string]Result{}
	for i, s := range n {
		result := Result{Text: s.text, Color: s.color, Index: i}
		if strings.HasPrefix(s.value, "/") {
			mappings = append(mappings, Mapping{"regex", map[string]any{"pattern": s.value, "result": result}})
		} else {
			options[s.value] = result
		}
	}
	if len(options) > 0 {
		mappings = append(mappings, Mapping{"value", options})
	}
	return mappings
}

// other is a series of everything that has no name of its own.
const other = "other"

// and the rest.
func (n named) andOther() named { return append(slices.Clone(n), shown{other, "", grey}) }

func (n named) values() (values []string) {
	for _, s := range n {
		values = append(values, s.value)
	}
	return values
}

var (
	// tcpStates as the kernel has them, in the words of network.connection.state.
	tcpStates = named{{"established", "", green}, {"syn_sent", "", yellow}, {"syn_received", "", "light-yellow"}, {"fin_wait_1", "", "light-blue"}, {"fin_wait_2", "", blue},
		{"close_wait", "", orange}, {"last_ack", "", purple}, {"closing", "", "light-purple"}}
	flowStates   = named{{"established", "", green}, {"half-closed", "", orange}, {"refused", "", red}, {"stale", "", grey}}
	flowDetails  = named{{"fin", "closed", green}, {"reset_by_peer", "reset by peer", orange}, {"reset_locally", "reset locally", "light-orange"}, {"refused", "", red}, {"timed_out", "timed out", paleRed}, {"unreachable", "", purple}, {"aborted", "", yellow}, {"missed_close", "close missed", grey}, {"evicted", "", grey}}
	connectEnds  = named{{"ok", "", green}, {"refused", "", red}, {"timed_out", "timed out", paleRed}, {"unreachable", "", purple}, {"denied", "", orange}}
	dnsEnds      = named{{"NOERROR", "", green}, {"NXDOMAIN", "", yellow}, {"SERVFAIL", "", red}, {"REFUSED", "", orange}, {"FORMERR", "", purple}, {"NOTIMP", "", "light-purple"}, {"no_answer", "no answer", paleRed}, {"encrypted", "", blue}, {"unfinished", "", grey}}
	lookupEnds   = named{{"ok", "", green}, {"EAI_NONAME", "no such name", yellow}, {"EAI_NODATA", "no address", yellow}, {"EAI_AGAIN", "try again", orange}, {"EAI_FAIL", "failed", red}, {"EAI_SYSTEM", "system error", red}}
	directions   = named{{"inbound", "", blue}, {"outbound", "", purple}, {"unknown", "", grey}}
	modes        = named{{"ebpf", "eBPF", green}, {"compatibility", "", orange}}
	liveness     = named{{"0", "live", green}, {"1", "stale", red}, {"false", "live", green}, {"true", "stale", red}}
	disruptions  = named{{"start", "started", blue}, {"gap", "records gone", red}}
	telecomNames = named{{"gtp_u", "GTP-U", blue}, {"pfcp", "PFCP", purple}, {"radius", "RADIUS", yellow}, {"radius_accounting", "RADIUS accounting", orange}, {"sctp_over_udp", "SCTP over UDP", green}}
	// presence is how many sockets of how many that were there.
	presence = named{{"missing", "", grey}, {"silent", "", purple}, {"/^0 of/", "", red}, {"/ of /", "", orange}, {"/present$/", "", green}}
	kinds    = named{{"network_connect", "connect", blue}, {"network_accept", "accept", green}, {"network_listen", "listen", purple}, {"network_flow", "flow ended", grey}, {"dns_query", "DNS query", yellow}, {"dns_lookup", "lookup", "dark-yellow"}, {"dns_resolution", "name used", "light-green"}, {"lsm_net_connect", "LSM connect", "light-blue"}}

	connectFailures = connectEnds[1:].andOther()

	// results are those of every kind of event, in one column.
	results = join(connectEnds, flowDetails, dnsEnds, lookupEnds)

	// ports that people know by a name; the numbers stay in the text.
	ports = named{{"22", "22 ssh", blue}, {"25", "25 smtp", blue}, {"53", "53 dns", yellow}, {"80", "80 http", green}, {"123", "123 ntp", blue}, {"179", "179 bgp", purple}, {"389", "389 ldap", blue}, {"443", "443 https", green}, {"853", "853 dot", yellow},
		{"1812", "1812 radius", purple}, {"1813", "1813 radius acct", purple}, {"2152", "2152 gtp-u", purple}, {"2379", "2379 etcd", blue}, {"3306", "3306 mysql", blue}, {"3868", "3868 diameter", purple}, {"4317", "4317 otlp", blue}, {"5353", "5353 mdns", yellow}, {"5432", "5432 postgres", blue},
		{"5672", "5672 amqp", blue}, {"6379", "6379 redis", blue}, {"6443", "6443 kube-api", blue}, {"8123", "8123 clickhouse", blue}, {"8805", "8805 pfcp", purple}, {"9000", "9000 clickhouse", blue}, {"9090", "9090 prometheus", blue}, {"9092", "9092 kafka", blue}, {"9100", "9100 node", blue}, {"9899", "9899 sctp/udp", purple}}
)

// join has each value once, the first of its kind.
func join(lists ...named) (all named) {
	seen := map[string]bool{}
	for _, list := range lists {
		for _, s := range list {
			if !seen[s.value] {
				seen[s.value] = true
				all = append(all, s)
			}
		}
	}
	return all
}

// levels are thresholds: a colour, then number and colour for each step.
func levels(first string, steps ...any) *Thresholds {
	t := &Thresholds{Mode: "absolute", Steps: []Step{{Color: first}}}
	for i := 0; i < len(steps); i += 2 {
		value := steps[i].(float64)
		t.Steps = append(t.Steps, Step{steps[i+1].(string), &value})
	}
	return t
}

var (
	// neutral numbers are neither good nor bad.
	neutral = levels("text")
	// linked numbers are there to be clicked.
	linked = levels(blue)
	// anyBad is red from 1 on, anyOdd orange.
	anyBad = levels(green, 1., red)
	anyOdd = levels("text", 1., orange)
	// tooMany is where an alert begins to count.
	tooMany = levels("text", 50., orange)
)
