package clickhouse

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// section of a view in docs/queries.md.
type section struct {
	columns      []string
	shell, panel string
}

// documented are the sections by view.
func documented(t *testing.T) map[string]section {
	t.Helper()
	text, err := os.ReadFile("../../docs/queries.md")
	if err != nil {
		t.Fatal(err)
	}
	block := func(part, language string) string {
		_, rest, _ := strings.Cut(part, "```"+language+"\n")
		code, _, _ := strings.Cut(rest, "```")
		return code
	}
	sections := map[string]section{}
	for _, part := range strings.Split(string(text), "\n### ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		_, list, _ := strings.Cut(body, "\nColumns: ")
		list, _, _ = strings.Cut(list, ".\n")
		sections[name] = section{strings.Split(strings.Trim(list, "`"), "`, `"), block(body, "sh"), block(body, "sql")}
	}
	return sections
}

// asClient stands in for clickhouse-client, which is no part of the engine: it
// asks the same query with the same parameters over HTTP.
const asClient = `clickhouse-client() {
	local arguments=()
	while [ $# -gt 0 ]; do
		case $1 in
		--query) arguments+=(--data-urlencode "query=$2"); shift;;
		--param_*) arguments+=(--data-urlencode "${1#--}");;
		esac
		shift
	done
	curl -G -K $CURL http://127.0.0.1:18123 "${arguments[@]}"
}
`

// asGrafana stands in for what Grafana and its plugin put in place of variables
// and macros.
func (g *generated) asGrafana(sql, value string) string {
	sql = strings.NewReplacer("$__toTime_ms", fmt.Sprintf("fromUnixTimestamp64Milli(%d)", g.at.UnixMilli()),
		"$__fromTime_ms", fmt.Sprintf("fromUnixTimestamp64Milli(%d)", g.at.Add(-6*time.Hour).UnixMilli())).Replace(sql)
	return regexp.MustCompile(`\$\{\w+:percentencode\}`).ReplaceAllLiteralString(sql, strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
}

// TestQueriesDocument: each view is described with the columns that it has, and
// its examples work as they stand there.
func TestQueriesDocument(t *testing.T) {
	ch := testch.Start(t)
	startReady(t, ch)
	g := generate(t, ch, 3, 5, 3, 3)
	sections := documented(t)
	for _, view := range Views() {
		s, found := sections[view.Name]
		if !found {
			t.Errorf("%s is not described", view.Name)
			continue
		}
		answer, err := g.reader.Query(t.Context(), "SELECT * FROM "+g.call(view.Name)+" LIMIT 0")
		if err != nil {
			t.Fatal(err)
		}
		if want := answer.Columns(); !slices.Equal(s.columns, want) {
			t.Errorf("%s is said to have the columns %v, it has %v", view.Name, s.columns, want)
		}
		answer.Close()
		for _, value := range []string{"", ".*", "192.0.2.1"} {
			if rows, err := tryTexts(g.reader, "SELECT toString(count()) FROM ("+g.asGrafana(s.panel, value)+")"); err != nil && !strings.Contains(err.Error(), "the cursor "+value) && !strings.Contains(err.Error(), "address "+value) {
				t.Errorf("%s in Grafana with variables %q: %v, %v", view.Name, value, rows, err)
			}
		}
		if strings.Count(s.shell, "\ncurl ")+strings.Count(s.shell, "clickhouse-client ") != 2 {
			t.Errorf("%s has not two examples for a shell:\n%s", view.Name, s.shell)
		}
	}
	if len(sections) != len(Views())+2 { // and Grafana, cursors
		t.Errorf("%d sections for %d views", len(sections), len(Views()))
	}
	t.Run("shell", func(t *testing.T) {
		if err := ch.WriteDSNs(); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"bash", "curl"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(err)
			}
		}
		for name, s := range sections {
			if s.shell == "" {
				continue
			}
			script := strings.NewReplacer("127.0.0.1:18123", ch.Options().HTTPAddress, "curl -G", "curl -sS -G").Replace(asClient + s.shell)
			command := exec.Command("bash", "-ec", script)
			command.Env = append(os.Environ(), "CURL="+engine.CurlFile(ch.Options().DataDir))
			out, err := command.CombinedOutput()
			if err != nil || strings.Contains(string(out), "DB::Exception") || !strings.Contains(string(out), `"meta"`) {
				t.Errorf("%s: %v\n%s\n%s", name, err, s.shell, out)
			}
		}
	})
}
