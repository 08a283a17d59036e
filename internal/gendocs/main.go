// Command gendocs writes the parts of docs/ that follow from the code. Its
// argument is the docs folder; `make generate` calls it.
package main

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/exporter"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/sensor"
	"github.com/netview-project/netview/sensor/rights"
)

//go:embed *.tmpl
var templates embed.FS

// documents are the generated files, by name.
var documents = map[string]func() (string, error){"data-model.md": dataModel, "metrics.md": metrics, "rights.md": rightsTable}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIRECTORY")
		os.Exit(2)
	}
	for name, document := range documents {
		text, err := document()
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), []byte(text), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "gendocs:", err)
			os.Exit(1)
		}
	}
}

func dataModel() (string, error) {
	return execute("data-model.md.tmpl", event.Kinds())
}

// metrics groups the exporter's metrics by family, and explains the causes of loss.
func metrics() (string, error) {
	var families [][]exporter.Description
	for _, d := range exporter.Describe() {
		if last := len(families) - 1; last < 0 || families[last][0].Family != d.Family {
			families = append(families, nil)
		}
		last := len(families) - 1
		families[last] = append(families[last], d)
	}
	return execute("metrics.md.tmpl", map[string]any{"Families": families, "Causes": sensor.LossCauses(), "Differences": event.FlowDifferences})
}

// rightsTable explains the capabilities, and gives the sets to run with.
func rightsTable() (string, error) {
	all, withoutSysAdmin := rights.Least()
	return execute("rights.md.tmpl", map[string]any{"Rights": rights.Table(), "All": all, "WithoutSysAdmin": withoutSysAdmin})
}

func execute(name string, data any) (string, error) {
	parsed, err := template.New(name).Funcs(template.FuncMap{"fields": fields, "event": eventName, "table": clickhouse.TableName, "join": strings.Join}).ParseFS(templates, name)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = parsed.Execute(&text, data)
	return text.String(), err
}

func eventName(kind event.Kind) string { return kind.EventName() }

// fields is the table of a kind's fields.
func fields(kind event.Kind) string {
	var b strings.Builder
	b.WriteString("| column | attribute | where | type | unit | source | null when |\n|---|---|---|---|---|---|---|\n")
	for _, f := range event.Fields(kind) {
		column := "`" + f.Column + "`"
		if stored := clickhouse.ColumnName(&f, kind); stored != f.Column {
			column += ", from `" + stored + "`"
		}
		null := f.Null
		switch {
		case null == "":
			null = "never"
		case f.IsList(kind):
			null = "empty: " + null
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s | %s |\n", column, f.Attribute, f.Scope, event.TypeName(f.Value(event.New(kind))), f.Unit, f.Source, null)
	}
	return b.String()
}
