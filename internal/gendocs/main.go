// Command gendocs writes the parts of docs/ that follow from the code. Its
// argument is the docs folder; `make generate` calls it.
package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

//go:embed data-model.md.tmpl
var dataModelTemplate string

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIRECTORY")
		os.Exit(2)
	}
	text, err := dataModel()
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Args[1], "data-model.md"), []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// dataModel is docs/data-model.md.
func dataModel() (string, error) {
	parsed, err := template.New("data-model").Funcs(template.FuncMap{"fields": fields, "event": eventName, "table": clickhouse.TableName}).Parse(dataModelTemplate)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = parsed.Execute(&text, event.Kinds())
	return text.String(), err
}

func eventName(kind event.Kind) string { return kind.EventName() }

// fields is the table of a kind's fields.
func fields(kind event.Kind) string {
	var b strings.Builder
	b.WriteString("| column | attribute | where | type | unit | source | null when |\n|---|---|---|---|---|---|---|\n")
	for _, f := range event.Fields(kind) {
		column := "`" + f.Column + "`"
		if stored := clickhouse.ColumnName(&f); stored != f.Column {
			column += ", from `" + stored + "`"
		}
		null := f.Null
		if null == "" {
			null = "never"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s | %s | %s |\n", column, f.Attribute, f.Scope, event.TypeName(f.Value(event.New(kind))), f.Unit, f.Source, null)
	}
	return b.String()
}
