package alerts

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// promtools are those that rules have to pass: of Debian, and the current one.
func promtools(t *testing.T) (list []string) {
	t.Helper()
	for _, tool := range []struct{ variable, path string }{{"NETVIEW_PROMTOOL", ""}, {"NETVIEW_PROMETHEUS", "promtool"}} {
		at := os.Getenv(tool.variable)
		if at == "" {
			continue
		}
		at = filepath.Join(at, tool.path)
		if _, err := os.Stat(at); err == nil {
			list = append(list, at)
		}
	}
	if len(list) == 0 {
		t.Skip("no promtool: neither NETVIEW_PROMTOOL nor NETVIEW_PROMETHEUS names one (`make test` does)")
	}
	if len(list) == 1 {
		t.Logf("checked with %s alone: the other promtool is not here", list[0])
	}
	return list
}

func run(t *testing.T, program string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(program, arguments...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%.20000s", program, strings.Join(arguments, " "), err, out)
	}
}

func ruleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Abs("rules")
	if err != nil {
		t.Fatal(err)
	}
	list, err := filepath.Glob(files + "/*.yaml")
	if err != nil || len(list) == 0 {
		t.Fatalf("no rule files in %s (%v)", files, err)
	}
	return list
}

func TestLint(t *testing.T) {
	for _, promtool := range promtools(t) {
		run(t, promtool, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, ruleFiles(t)...)...)
	}
}

// step is the time between two scrapes.
const step = 15 * time.Second

// phases are values of a series, one for each phase of a case.
type phases struct {
	series string
	// notation gives a phase in promtool's, from a number of a sample on.
	notation func(phase, from, samples int) string
}

// steady is a gauge; NaN is a series that is not there.
func steady(series string, values ...float64) phases {
	return phases{series, func(phase, _, samples int) string {
		if v := at(values, phase); !math.IsNaN(v) {
			return fmt.Sprintf("%v+0x%d", v, samples-1)
		}
		return fmt.Sprintf("_x%d", samples)
	}}
}

var absent = math.NaN()

// growing is a counter, by its growth in a second.
func growing(series string, perSecond ...float64) phases {
	total := 0.
	return phases{series, func(phase, _, samples int) string {
		growth := at(perSecond, phase) * step.Seconds()
		begin := total
		total += growth * float64(samples)
		return fmt.Sprintf("%v+%vx%d", begin, growth, samples-1)
	}}
}

// clock is a gauge of a time, so many seconds ahead of that of Prometheus.
func clock(series string, ahead ...float64) phases {
	return phases{series, func(phase, from, samples int) string {
		return fmt.Sprintf("%v+%vx%d", float64(from)*step.Seconds()+at(ahead, phase), step.Seconds(), samples-1)
	}}
}

func at(values []float64, phase int) float64 { return values[min(phase, len(values)-1)] }

// condition is a case: first just below the threshold, then above, then as before.
type condition struct {
	alert string
	// each is the time between two scrapes, and evaluations; step where it says nothing.
	each time.Duration
	// lasts is how long a phase is; half an hour where it says nothing.
	lasts time.Duration
	// labels of the alert, with their values; s1 is the sensor where it is empty.
	labels map[string]string
	// value as the alert's texts give it.
	value  string
	series []phases
}

func on(series string) string {
	return strings.Replace(series, "{", `{job="netview",instance="h1:9765",sensor_id="s1",`, 1)
}

func conditions() []condition {
	heartbeat := func(lag ...float64) []phases {
		return []phases{clock(on("netview_heartbeat_acknowledged_timestamp_seconds{}"), lag...), steady(on("netview_heartbeat_interval_seconds{}"), 15)}
	}
	collector := func(series string) string {
		return strings.Replace(series, "{", `{job="netview-collector",instance="c1:8888",`, 1)
	}
	ofCollector := func(more ...string) map[string]string {
		labels := map[string]string{"job": "netview-collector", "instance": "c1:8888"}
		for i := 0; i < len(more); i += 2 {
			labels[more[i]] = more[i+1]
		}
		return labels
	}
	connects := func(result string, below, above float64) []phases {
		return []phases{growing(on(`netview_connects_total{transport="tcp",result="ok"}`), 1-below, 1-above, 1-below), growing(on(`netview_connects_total{transport="tcp",result="`+result+`"}`), below, above, below)}
	}
	queries := func(labels string, below, above float64) []phases {
		return []phases{growing(on(`netview_dns_queries_total{protocol="dns",type="A",transport="udp",result="answered",rcode="NOERROR"}`), 1-below, 1-above, 1-below),
			growing(on(`netview_dns_queries_total{protocol="dns",type="A",transport="udp",`+labels+`}`), below, above, below)}
	}
	loss := func(cause string) []phases {
		return []phases{growing(on(`netview_losses_total{cause="`+cause+`"}`), 0, .2, 0)}
	}
	fleet := func(spread, below, above float64) (list []phases) {
		for i := range 5 {
			list = append(list, steady(fmt.Sprintf(`netview_connections{sensor_id="other%d"}`, i), 100+spread*float64(i-2)))
		}
		return append(list, steady(on(`netview_connections{}`), below, above, below))
	}
	spool := func(values ...float64) []phases {
		return []phases{steady(on(`netview_spool_bytes{lane="events"}`), values...), steady(on(`netview_spool_limit_bytes{lane="events"}`), 1000)}
	}
	return []condition{
		{alert: "NetviewSensorDown", labels: map[string]string{"job": "netview", "instance": "h1:9765", "sensor_id": "s1"}, series: []phases{
			steady(`up{job="netview",instance="h1:9765"}`, 1, 0, 1), steady(on("netview_sensor_info{}"), 1, absent, 1)}},
		{alert: "NetviewSensorDown", labels: map[string]string{"job": "netview", "instance": "h2:9765", "sensor_id": ""}, series: []phases{
			steady(`up{job="netview",instance="h2:9765"}`, 1, 0, 1)}},
		{alert: "NetviewSensorGone", value: "1970-01-01 00:31:00 +0000 UTC", series: []phases{
			steady(`up{job="netview",instance="h1:9765"}`, 1, absent, 1), steady(on("netview_sensor_info{}"), 1, absent, 1)}},
		{alert: "NetviewHeartbeatLate", value: "46s", series: heartbeat(-45, -46, -45)},
		{alert: "NetviewHeartbeatStale", value: "1m 31s", series: heartbeat(-90, -91, -90)},
		{alert: "NetviewHeartbeatOffline", value: "6m 1s", series: heartbeat(-360, -361, -360)},
		{alert: "NetviewHeartbeatLate", value: "3m 1s", series: []phases{
			clock(on("netview_heartbeat_acknowledged_timestamp_seconds{}"), -180, -181, -180), steady(on("netview_heartbeat_interval_seconds{}"), 60)}},
		{alert: "NetviewHeartbeatNotTaken", value: "46s", series: []phases{
			clock(on("netview_time_seconds{}"), 100), clock(on("netview_heartbeat_taken_timestamp_seconds{}"), 55, 54, 55), steady(on("netview_heartbeat_interval_seconds{}"), 15), clock(on("netview_heartbeat_acknowledged_timestamp_seconds{}"), 0)}},
		{alert: "NetviewNeverAcknowledged", value: "20", series: []phases{
			steady(on(`netview_spool_records{lane="snapshots"}`), 20), {on("netview_heartbeat_acknowledged_timestamp_seconds{}"), func(phase, from, samples int) string {
				if phase == 1 {
					return fmt.Sprintf("_x%d", samples)
				}
				return fmt.Sprintf("%v+15x%d", from*15, samples-1)
			}}}},
		{alert: "NetviewCollectionFailing", labels: map[string]string{"collection": "processes"}, series: []phases{steady(on(`netview_heartbeat_collection_success{collection="processes"}`), 1, 0, 1)}},
		{alert: "NetviewFeatureOff", labels: map[string]string{"job": "netview", "instance": "h1:9765", "feature": "dns", "hook": "", "reason": "denied"}, series: []phases{
			steady(on(`netview_feature_enabled{feature="dns",hook="cgroup_skb"}`), 1, absent, 1), steady(on(`netview_feature_enabled{feature="dns",hook="",reason="denied"}`), absent, 0, absent),
			steady(on(`netview_feature_enabled{feature="lsm",hook="",reason="never was on"}`), 0)}},
		{alert: "NetviewClockSkew", value: "5.5s", series: []phases{clock(on("netview_time_seconds{}"), 5, -5.5, -5)}},
		{alert: "NetviewIdentityShared", value: "20s", series: []phases{
			steady(on("process_start_time_seconds{}"), 100, 120, 120), steady(`process_start_time_seconds{sensor_id="s1",instance="clone:9765"}`, absent, 100, absent),
			steady(`process_start_time_seconds{instance="of another program"}`, 5), steady(`process_start_time_seconds{job="again",sensor_id="s1"}`, 100, 120, 120)}},
		{alert: "NetviewVersionSkew", each: 5 * time.Minute, lasts: 26 * time.Hour, labels: map[string]string{"sensor_id": ""}, value: "2", series: []phases{
			steady(on(`netview_sensor_info{version="1"}`), 1), steady(`netview_sensor_info{sensor_id="s2",version="1"}`, 1, absent, 1), steady(`netview_sensor_info{sensor_id="s2",version="2"}`, absent, 1, absent)}},

		{alert: "NetviewEventsLost", value: "60", labels: map[string]string{"cause": "bpf_ring_full"}, series: loss("bpf_ring_full")},
		{alert: "NetviewDNSMessagesLost", value: "60", labels: map[string]string{"cause": "dns_stream_gap"}, series: loss("dns_stream_gap")},
		{alert: "NetviewSocketsUnread", value: "60", labels: map[string]string{"cause": "socket_row_short"}, series: loss("socket_row_short")},
		{alert: "NetviewRecordsLost", value: "60", labels: map[string]string{"cause": "spool_full"}, series: loss("spool_full")},
		{alert: "NetviewSpoolInMemory", series: []phases{steady(on("netview_spool_on_disk{}"), 1, 0, 1)}},
		// By 5 % of the room in 1000 s.
		{alert: "NetviewSpoolFilling", value: "2h 49m 0s", labels: map[string]string{"lane": "events"}, series: []phases{
			{on(`netview_spool_bytes{lane="events"}`), func(phase, _, samples int) string {
				return []string{fmt.Sprintf("310+0.01x%d", samples-1), fmt.Sprintf("400+0.75x%d", samples-1), fmt.Sprintf("490-1x%d", samples-1)}[phase]
			}}, steady(on(`netview_spool_limit_bytes{lane="events"}`), 1000)}},
		{alert: "NetviewSpoolNearlyFull", value: "91%", labels: map[string]string{"lane": "events"}, series: spool(900, 910, 900)},
		{alert: "NetviewDeliveryBehind", value: "5m 1s", labels: map[string]string{"lane": "events"}, series: []phases{
			clock(on("netview_time_seconds{}"), 100), clock(on(`netview_spool_oldest_timestamp_seconds{lane="events"}`), -200, -201, -200)}},

		{alert: "NetviewCollectorDown", labels: ofCollector(), series: []phases{steady(collector("up{}"), 1, 0, 1)}},
		{alert: "NetviewCollectorDown", labels: map[string]string{"job": "netview-collector", "instance": ""}, series: []phases{steady(collector("up{}"), 1, absent, 1)}},
		{alert: "NetviewReceiverFailing", value: "6%", labels: ofCollector(), series: []phases{
			growing(collector(`netview_receiver_requests{answer="ok"}`), .95, .94, .95), growing(collector(`netview_receiver_requests{answer="not_ready"}`), .05, .06, .05)}},
		{alert: "NetviewReceiverFailing", value: "6%", labels: ofCollector(), series: []phases{
			growing(collector(`netview_receiver_requests_total{answer="ok"}`), .95, .94, .95), growing(collector(`netview_receiver_requests_total{answer="failed"}`), .05, .06, .05)}},
		{alert: "NetviewReceiverOverloaded", value: "2", labels: ofCollector(), series: []phases{growing(collector(`netview_receiver_requests{answer="overloaded"}`), 0, 2, 0)}},
		{alert: "NetviewReceiverRefusing", value: "2", labels: ofCollector("outcome", "wrong_type"), series: []phases{growing(collector(`netview_receiver_records{outcome="wrong_type"}`), 0, 2, 0)}},
		{alert: "NetviewRecordsQuarantined", value: "2", labels: ofCollector(), series: []phases{growing(collector(`netview_receiver_records{outcome="quarantined"}`), 0, 2, 0)}},
		{alert: "NetviewReceiverFilesUnreadable", labels: ofCollector("file", "access_file"), series: []phases{steady(collector(`netview_receiver_unreadable_files{file="access_file"}`), 0, 1, 0)}},
		{alert: "NetviewCommitsFailing", value: "2", labels: ofCollector(), series: []phases{growing(collector(`netview_receiver_commits{result="error"}`), 0, 2, 0)}},
		{alert: "NetviewCommitsSlow", value: "4.875s", labels: ofCollector(), series: []phases{
			growing(collector(`netview_receiver_commit_duration_bucket{le="2.5"}`), 9.5, 0, 9.5), growing(collector(`netview_receiver_commit_duration_bucket{le="5"}`), 10), growing(collector(`netview_receiver_commit_duration_bucket{le="+Inf"}`), 10)}},

		{alert: "NetviewConnectionsUnusual", each: 2 * step, lasts: 3 * time.Hour, value: "10.4", series: []phases{{on("netview_connections{}"), func(phase, _, samples int) string {
			if phase == 1 { // a step at the end, which its own history must not hide
				return fmt.Sprintf("100+0x%d 152+0x%d", samples-20-1, 20-1)
			}
			return fmt.Sprintf("100+0x%d 149+0x%d", samples-20-1, 20-1)
		}}}},
		{alert: "NetviewConnectionsUnusual", each: 2 * step, lasts: 3 * time.Hour, value: "3.02", series: []phases{{on("netview_connections{}"), func(phase, _, samples int) string {
			return fmt.Sprintf("1000+0x%d %d+0x%d", samples-20-1, []int{1150, 1151, 1150}[phase], 20-1)
		}}}},
		{alert: "NetviewSensorStandsOut", value: "3.507", series: fleet(20, 265, 266)},
		{alert: "NetviewSensorStandsOut", value: "5.306", series: fleet(5, 150, 161.5)},
		{alert: "NetviewConnectsRefused", value: "26%", labels: map[string]string{"result": "refused"}, series: connects("refused", .25, .26)},
		{alert: "NetviewConnectsTimedOut", value: "11%", labels: map[string]string{"result": "timed_out"}, series: connects("timed_out", .1, .11)},
		{alert: "NetviewConnectionsReset", value: "31%", series: []phases{
			growing(on(`netview_flows_ended_total{final_state="established",final_detail="fin"}`), .7, .69, .7), growing(on(`netview_flows_ended_total{final_state="half-closed",final_detail="reset_by_peer"}`), .3, .31, .3),
			growing(on(`netview_flows_ended_total{final_state="refused",final_detail="refused"}`), 9)}},
		{alert: "NetviewHalfClosedFlows", value: "101", series: []phases{
			steady(on(`netview_flows{state="half-closed",direction="inbound"}`), 100, 101, 100), steady(on(`netview_flows{state="established",direction="inbound"}`), 300)}},
		{alert: "NetviewStaleFlows", value: "180", series: []phases{growing(on(`netview_flows_ended_total{final_state="stale",final_detail="missed_close"}`), .1, .2, .1)}},

		{alert: "NetviewEphemeralPortsLow", value: "81%", series: []phases{steady(on("netview_ephemeral_ports_used_ratio{}"), .8, .81, .8)}},
		{alert: "NetviewEphemeralPortsExhausted", value: "60", series: []phases{growing(on(`netview_connects_total{transport="tcp",result="addrnotavail"}`), 0, .2, 0)}},
		{alert: "NetviewConntrackNearlyFull", value: "91%", series: []phases{steady(on("netview_conntrack_entries{}"), 90, 91, 90), steady(on("netview_conntrack_entries_limit{}"), 100)}},
		{alert: "NetviewAcceptQueueFull", value: "15", series: []phases{growing(on("netview_tcp_listen_overflows_total{}"), .03, .05, .03)}},
		{alert: "NetviewListenDrops", value: "15", series: []phases{growing(on("netview_tcp_listen_drops_total{}"), 1.03, 1.05, 1.03), growing(on("netview_tcp_listen_overflows_total{}"), 1)}},

		{alert: "NetviewListenerAppeared", value: "9", labels: map[string]string{"transport": "tcp"}, series: []phases{
			growing(on(`netview_listeners_appeared_total{transport="tcp"}`), .01, .02, .01), growing(on(`netview_listeners_vanished_total{transport="tcp"}`), .01)}},
		{alert: "NetviewListenerVanished", value: "9", labels: map[string]string{"transport": "udp"}, series: []phases{
			growing(on(`netview_listeners_vanished_total{transport="udp"}`), .01, .02, .01), growing(on(`netview_listeners_appeared_total{transport="udp"}`), .01)}},
		{alert: "NetviewTelecomListenerDown", labels: map[string]string{"service": "gtp_u", "port": "2152"}, series: []phases{
			steady(on(`netview_telecom_listeners{service="gtp_u",port="2152"}`), 2, 0, 1), steady(on(`netview_telecom_listeners{service="pfcp",port="8805"}`), 0)}},

		{alert: "NetviewDNSFailing", value: "6%", labels: map[string]string{"rcode": "SERVFAIL"}, series: queries(`result="answered",rcode="SERVFAIL"`, .05, .06)},
		{alert: "NetviewDNSUnanswered", value: "6%", series: queries(`result="no_answer",rcode=""`, .05, .06)},
		{alert: "NetviewDNSSlow", value: "975ms", series: append(queries(`result="answered",rcode="NXDOMAIN"`, .5, .5),
			growing(on(`netview_dns_latency_seconds_bucket{le="0.5"}`), .95, 0, .95), growing(on(`netview_dns_latency_seconds_bucket{le="1"}`), 1), growing(on(`netview_dns_latency_seconds_bucket{le="+Inf"}`), 1))},
		{alert: "NetviewDNSNXDomainBurst", each: 2 * step, lasts: 3 * time.Hour, value: "6", series: []phases{{on(`netview_dns_queries_total{protocol="dns",type="A",transport="udp",result="answered",rcode="NXDOMAIN"}`), func(phase, _, samples int) string {
			// 1 each second, then 6, or in the others 5, at the end of the phase.
			n, pace := samples-20, map[bool]int{true: 180, false: 150}[phase == 1]
			begin := phase*(n*30) + []int{0, 20 * 150, 20*150 + 20*180}[phase]
			return fmt.Sprintf("%d+30x%d %d+%dx%d", begin, n-1, begin+n*30, pace, 20-1)
		}}}},
	}
}

// TestAlerts: each alert does not fire just below its threshold, fires above, and
// resolves, with its labels and texts.
func TestAlerts(t *testing.T) {
	settings := Defaults()
	alerts, groups := map[string]Alert{}, map[string]string{}
	for _, g := range Groups(&settings) {
		for _, r := range g.Rules {
			if a, is := r.(Alert); is {
				alerts[a.Name], groups[a.Name] = a, g.Name
			}
		}
	}
	untested := map[string]bool{}
	for name := range alerts {
		untested[name] = true
	}
	type file struct {
		group string
		each  time.Duration
	}
	tests := map[file][]map[string]any{}
	for _, c := range conditions() {
		alert, is := alerts[c.alert]
		if !is {
			t.Fatalf("there is no alert %s", c.alert)
		}
		delete(untested, c.alert)
		c.each = cmp.Or(c.each, step)
		c.lasts = cmp.Or(c.lasts, 30*time.Minute+5*c.each)
		in := file{groups[c.alert], c.each}
		tests[in] = append(tests[in], c.test(&settings, alert))
	}
	for name := range untested {
		t.Errorf("%s has no test", name)
	}
	dir := t.TempDir()
	var files []string
	for in, tests := range tests {
		rules := slices.IndexFunc(ruleFiles(t), func(name string) bool { return filepath.Base(name) == in.group+".yaml" })
		text, err := yaml.Marshal(map[string]any{"rule_files": []string{ruleFiles(t)[rules]}, "evaluation_interval": duration(in.each), "tests": tests})
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint(in.group, "-", in.each, ".yaml"))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	for _, promtool := range promtools(t) {
		run(t, promtool, append([]string{"test", "rules"}, files...)...)
	}
}

// test is the case in the form of promtool.
func (c *condition) test(settings *Settings, alert Alert) map[string]any {
	samples := int(c.lasts / c.each)
	var series []map[string]string
	for _, s := range c.series {
		var values []string
		for phase := range 3 {
			values = append(values, s.notation(phase, phase*samples, samples))
		}
		series = append(series, map[string]string{"series": strings.Replace(s.series, ",}", "}", 1), "values": strings.Join(values, " ")})
	}
	labels := map[string]string{"severity": alert.Severity, "sensor_id": "s1"}
	if c.labels["job"] == "netview-collector" {
		delete(labels, "sensor_id")
	}
	for name, value := range c.labels {
		labels[name] = value
	}
	texts := alert.write(settings).Annotations
	fill := func(text string) string {
		text = regexp.MustCompile(`\{\{ \$labels\.(\w+) \}\}`).ReplaceAllStringFunc(text, func(found string) string {
			return labels[strings.TrimSuffix(strings.TrimPrefix(found, "{{ $labels."), " }}")]
		})
		return regexp.MustCompile(`\{\{ \$value \| \w+ \}\}`).ReplaceAllString(text, c.value)
	}
	fires := []map[string]any{{"exp_labels": nonEmpty(labels), "exp_annotations": map[string]string{
		"summary": fill(texts.Summary), "description": fill(texts.Description), "runbook_url": texts.Runbook, "dashboard_url": fill(texts.Dashboard)}}}
	look := func(phase int, expected []map[string]any) map[string]any {
		return map[string]any{"alertname": c.alert, "eval_time": duration(time.Duration(phase)*c.lasts - c.each), "exp_alerts": expected}
	}
	return map[string]any{"name": c.alert, "interval": duration(c.each), "input_series": series, "alert_rule_test": []map[string]any{look(1, nil), look(2, fires), look(3, nil)}}
}

func nonEmpty(labels map[string]string) map[string]string {
	kept := map[string]string{}
	for name, value := range labels {
		if value != "" {
			kept[name] = value
		}
	}
	return kept
}

// TestFilesAreCurrent: the committed rules follow from the package.
func TestFilesAreCurrent(t *testing.T) {
	settings := Defaults()
	files, err := Files(&settings)
	if err != nil {
		t.Fatal(err)
	}
	var committed []string
	for name, want := range files {
		got, err := os.ReadFile(name)
		if err != nil || string(got) != string(want) {
			t.Errorf("alerts/%s does not follow from the package (%v): run `make generate`", name, err)
		}
		if strings.HasPrefix(name, "rules/") {
			committed = append(committed, filepath.Base(name))
		}
	}
	for _, file := range ruleFiles(t) {
		if !slices.Contains(committed, filepath.Base(file)) {
			t.Errorf("%s is of no group any more: remove it", file)
		}
	}
}
