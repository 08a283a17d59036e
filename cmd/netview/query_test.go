package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/cmd/netview/quickstart"
	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// ask runs `netview query`, and tells its output from its errors.
func ask(t *testing.T, environment []string, arguments ...string) (code int, out, errors string) {
	t.Helper()
	command := exec.Command(testbin.Path(t, "netview"), append([]string{"query"}, arguments...)...)
	command.Env = append(os.Environ(), environment...)
	var said strings.Builder
	command.Stderr = &said
	text, err := command.Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text), said.String()
}

// store puts a snapshot of connections, one for each name of a program, into ClickHouse.
func store(t *testing.T, ch *testch.Server, at time.Time, programs ...string) {
	t.Helper()
	ready := make(chan error, 10)
	s, err := clickhouse.Start(clickhouse.Options{DSN: ch.DSN(engine.Writer), SchemaDSN: ch.DSN(engine.Owner), Database: "netview", ApplySchema: true,
		Retention: clickhouse.DefaultRetention(), MaxRows: 1000, CommitTimeout: patience, Ready: func(err error) { ready <- err }, Warn: func(err error) { t.Error(err) },
		Committed: func(int, time.Duration, error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	envelope := event.Envelope{Resource: event.Resource{SensorID: "web-1", Session: uuid.New(), HostName: "web-1"}, Timestamp: at}
	err = s.Commit(context.Background(), func(b *clickhouse.Batch) {
		for i, program := range programs {
			envelope.Sequence++
			c := &event.Connection{Envelope: envelope, Heartbeat: 1, Family: "ipv4", State: "established", Direction: event.DirectionOutbound, Inode: uint64(i + 1),
				LocalAddress: netip.MustParseAddr("192.0.2.1"), LocalPort: uint16(40000 + i), RemoteAddress: netip.MustParseAddr("192.0.2.2"), RemotePort: 443}
			if program != "" {
				c.Process = event.Process{PID: event.Some(uint32(100 + i)), Binary: program, User: "root"}
				c.Duration, c.DurationSource = event.Some(1500*time.Millisecond), event.SourceFirstSeen
			}
			b.Add(c)
		}
		envelope.Sequence++
		b.Add(&event.Heartbeat{Envelope: envelope, Heartbeat: 1, Connections: uint64(len(programs)), Mode: event.ModeCompatibility, Interval: 15 * time.Second})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestQuery(t *testing.T) {
	ch := testch.Start(t)
	at := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Minute)
	store(t, ch, at, "/bin/a", "/bin/evil\x1b[2J\n", "", "/bin/d, \"e\"")
	state := t.TempDir() // as `netview run` has it
	if err := errors.Join(ch.WriteDSNs(), os.Symlink(ch.Options().DataDir, quickstart.ClickHouseData(state))); err != nil {
		t.Fatal(err)
	}
	dsn := "--state=" + state
	then := "--at=" + at.Add(time.Second).Format(time.RFC3339Nano)

	t.Run("table", func(t *testing.T) {
		code, out, errors := ask(t, nil, "connections", dsn, "--page-size", "3")
		for _, pattern := range []string{`(?m)^SENSOR_ID +STATE +DIRECTION +LOCAL_ADDRESS`, `(?m)^web-1 +established +outbound +192\.0\.2\.1 +40000 +192\.0\.2\.2 +443 +100 +/bin/a +root +1\.5 +0$`,
			`(?m) 101 +/bin/evil\\x1b\[2J\\n +root`, `(?m) 443 +- +- +- +- +0$`, `\(3 rows, page 1 of 2; 4 in all`} {
			if !regexp.MustCompile(pattern).MatchString(out) {
				t.Errorf("exit %d: nothing matches %s in\n%s%s", code, pattern, out, errors)
			}
		}
	})
	t.Run("json", func(t *testing.T) {
		_, out, errors := ask(t, []string{"NETVIEW_CLICKHOUSE_READER_DSN=" + ch.DSN(engine.Reader)}, "connections", "--format", "json", then, "--sensor-id", "web-1")
		var rows []map[string]any
		if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 4 {
			t.Fatalf("%v in\n%s%s", err, out, errors)
		}
		if rows[2]["pid"] != nil || rows[0]["pid"] != 100.0 || rows[1]["binary"] != "/bin/evil\x1b[2J\n" || rows[0]["duration_secs"] != 1.5 || rows[0]["page_size"] != 100.0 || rows[0]["current_page"] != 1.0 {
			t.Errorf("%v", rows)
		}
		if _, out, _ := ask(t, nil, "connections", dsn, "--format", "json", "--sensor-id", "nobody"); strings.TrimSpace(out) != "[]" {
			t.Errorf("an empty answer is %q", out)
		}
	})
	t.Run("csv", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "reader.dsn")
		if err := os.WriteFile(file, []byte(ch.HTTPDSN(engine.Reader)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		// From a file, and by HTTP.
		_, out, errors := ask(t, []string{"NETVIEW_CLICKHOUSE_READER_DSN_FILE=" + file}, "connections", "--format", "csv", "--at", "1s", "--column", "binary", "--column", "pid", "--page", "2", "--page-size", "2")
		lines, err := csv.NewReader(strings.NewReader(out)).ReadAll()
		if want := [][]string{{"binary", "pid"}, {"", ""}, {"/bin/d, \"e\"", "103"}}; err != nil || !slices.EqualFunc(lines, want, slices.Equal) {
			t.Errorf("%q (%v), want %q\n%s", lines, err, want, errors)
		}
	})
	t.Run("at", func(t *testing.T) {
		for argument, rows := range map[string]string{"--at=1h": "(0 rows)", "--at=0s": "(1 rows)", then: "(1 rows)", "--at=" + at.Add(-time.Second).Format(time.RFC3339): "(0 rows)"} {
			if _, out, errors := ask(t, nil, "newest_heartbeats", dsn, argument); !strings.Contains(out, rows) {
				t.Errorf("%s: want %s in\n%s%s", argument, rows, out, errors)
			}
		}
	})
	t.Run("a search", func(t *testing.T) {
		// Values travel beside the SQL: the quote and the backslash are a name's.
		for _, process := range []string{"curl", `it's`, `\`, `C:\x\'`} {
			if code, out, errors := ask(t, nil, "events_search", dsn, "--sensor-id", "web-1,web-2", "--kind", "network_connect", "--process", process, "--address", "192.0.2.0/24", "--port", "443", "--name", "example.com", "--until", "1s"); code != 0 || !strings.Contains(out, "(0 rows)") {
				t.Errorf("--process %s: exit %d\n%s%s", process, code, out, errors)
			}
		}
	})
	t.Run("every view", func(t *testing.T) {
		_, out, _ := ask(t, nil)
		for _, view := range clickhouse.Views() {
			if !strings.Contains(out, "\n"+view.Name+" ") || view.About == "" {
				t.Errorf("%s is not in the list:\n%s", view.Name, out)
			}
			if code, out, errors := ask(t, nil, view.Name, dsn); code != 0 || !strings.Contains(out, " rows") {
				t.Errorf("%s: exit %d\n%s%s", view.Name, code, out, errors)
			}
		}
	})
	t.Run("an output that is full", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Skip(err)
		}
		defer full.Close()
		for _, format := range []string{"table", "json", "csv"} {
			command := exec.Command(testbin.Path(t, "netview"), "query", "connections", dsn, "--format", format)
			var errors strings.Builder
			command.Stdout, command.Stderr = full, &errors
			if err := command.Run(); err == nil || !strings.Contains(errors.String(), "no space left") || strings.Contains(errors.String(), "ClickHouse") {
				t.Errorf("%s: %v, %s", format, err, &errors)
			}
		}
	})
	t.Run("refusals", func(t *testing.T) {
		for name, tt := range map[string]struct {
			arguments []string
			quotes    []string
		}{
			"no view":           {[]string{"nix"}, []string{`"nix"`, "connections_pager"}},
			"page 0":            {[]string{"connections", "--page=0"}, []string{"--page", `"0"`, "from 1"}},
			"page of no number": {[]string{"connections", "--page=x"}, []string{"--page", `"x"`, "whole number"}},
			"page size 501":     {[]string{"connections", "--page-size=501"}, []string{"--page-size", `"501"`, "1 to 500"}},
			"page size 0":       {[]string{"connections", "--page-size=0"}, []string{"--page-size", `"0"`, "1 to 500"}},
			"sensor":            {[]string{"connections", "--sensor-id=A B"}, []string{"--sensor-id", `"A B"`, "a-z"}},
			"time":              {[]string{"connections", "--at=yesterday"}, []string{"--at", `"yesterday"`, "RFC 3339", "5m"}},
			"time of old":       {[]string{"connections", "--at=0900-01-01T00:00:00Z"}, []string{"--at", "0900"}},
			"final state":       {[]string{"top_talkers", "--final-state=refused,gone"}, []string{"--final-state", `"gone"`, "half-closed"}},
			"kind":              {[]string{"events_search", "--kind=network_flow,flow"}, []string{"--kind", `"flow"`, "network_connect"}},
			"address":           {[]string{"events_search", "--address=10.0.0.0/33"}, []string{"--address", `"10.0.0.0/33"`, "192.0.2.0/24"}},
			"port":              {[]string{"events_search", "--port=65536"}, []string{"--port", `"65536"`, "0 to 65535"}},
			"limit":             {[]string{"events_search", "--limit=501", dsn}, []string{"ClickHouse refuses", "limit must be 1 to 500"}},
			"cursor":            {[]string{"events_after", "--after=it's", dsn}, []string{"ClickHouse refuses", "the cursor it's is damaged"}},
			"other's flag":      {[]string{"newest_heartbeats", "--page=1"}, []string{"newest_heartbeats takes no --page", "--sensor-id"}},
			"column":            {[]string{"connections", "--column=nix", dsn}, []string{`no column "nix"`, "local_port"}},
			"format":            {[]string{"connections", "--format=xml"}, []string{"table,json,csv", "xml"}},
			"database":          {[]string{"connections", "--database=a-b"}, []string{`"a-b"`, "letters"}},
			"no database":       {[]string{"connections", "--database=other", dsn}, []string{"ClickHouse refuses", "other"}},
			"no state":          {[]string{"connections", "--state=/nowhere"}, []string{"/nowhere/clickhouse/credentials/reader.dsn", "make run", "--state", "NETVIEW_CLICKHOUSE_READER_DSN"}},
			"password":          {[]string{"connections", "--clickhouse-dsn=clickhouse://u:hunter2@h"}, []string{"password", "NETVIEW_CLICKHOUSE_READER_DSN_FILE"}},
			"server away":       {[]string{"connections", "--clickhouse-dsn=clickhouse://u@" + testbin.FreeAddress(t)}, []string{"connection refused", "make run", "NETVIEW_CLICKHOUSE_READER_DSN"}},
			"too slow":          {[]string{"connections", "--timeout=1ns", dsn}, []string{"--timeout 1ns"}},
		} {
			t.Run(name, func(t *testing.T) {
				code, out, errors := ask(t, nil, tt.arguments...)
				if code != 1 || out != "" || strings.Contains(errors, "hunter2") {
					t.Errorf("exit %d, %q, %s", code, out, errors)
				}
				for _, quote := range tt.quotes {
					if !strings.Contains(errors, quote) {
						t.Errorf("says no %q: %s", quote, errors)
					}
				}
			})
		}
	})
}

// TestCompletion has bash complete the command lines of both programs.
func TestCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash: ", err)
	}
	for _, tt := range []struct{ program, line, want string }{
		{"netview", "netview q", "query"},
		{"netview", "netview query con", "connections connections_after connections_pager"},
		{"netview", "netview query --page-", "--page-size"},
		{"netview", "netview query --format ", "table json csv"},
		// Not its commands: kingpin offers the flags of the default one instead.
		{"netview-sensor", "netview-sensor check --form", "--format"},
		{"netview-sensor", "netview-sensor --web.tel", "--web.telemetry-path"},
	} {
		script := `eval "$(` + tt.program + ` --completion-script-bash)"
			read -ra COMP_WORDS <<<"$1"; [[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			handler=$(complete -p ` + tt.program + ` | grep -o -- '-F [^ ]*' | cut -c4-); $handler; echo ${COMPREPLY[@]}`
		command := exec.Command("bash", "-c", script, "bash", tt.line)
		command.Env = append(os.Environ(), "PATH="+filepath.Dir(testbin.Path(t, tt.program))+":"+os.Getenv("PATH"))
		out, err := command.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%q completes to %q (%v), want %q", tt.line, got, err, tt.want)
		}
	}
}
