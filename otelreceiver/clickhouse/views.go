package clickhouse

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// View is a parameterized view of the schema.
type View struct {
	Name string
	// About is the comment above it.
	About      string
	Parameters []Parameter
}

// Parameter of a view; ClickHouse knows no defaults for them.
type Parameter struct {
	Name string
	// Type of ClickHouse, such as DateTime64(3, 'UTC').
	Type string
}

var (
	viewName      = regexp.MustCompile(`CREATE OR REPLACE VIEW \{\{database\}\}\.(\w+)`)
	viewParameter = regexp.MustCompile(`\{(\w+):([^{}]+)\}`)
)

// Views returns the parameterized views of the schema, by name. The parts that
// they rest on (schema/parts) are not among them.
func Views() []View {
	var views []View
	files, err := fs.Glob(schemaFiles, "schema/views/*.sql")
	for _, file := range files {
		var text []byte
		if text, err = schemaFiles.ReadFile(file); err != nil {
			break
		}
		views = append(views, newView(string(text)))
	}
	if err != nil {
		panic(fmt.Sprint("reading the embedded schema: ", err)) // it is part of the program
	}
	slices.SortFunc(views, func(a, b View) int { return strings.Compare(a.Name, b.Name) })
	return views
}

func newView(sql string) View {
	about, definition, _ := strings.Cut(sql, "CREATE OR REPLACE VIEW")
	v := View{About: strings.TrimSpace(strings.ReplaceAll("\n"+about, "\n-- ", " "))}
	v.Name = viewName.FindStringSubmatch(sql)[1]
	for _, match := range viewParameter.FindAllStringSubmatch(definition, -1) {
		if p := (Parameter{match[1], match[2]}); !slices.Contains(v.Parameters, p) {
			v.Parameters = append(v.Parameters, p)
		}
	}
	slices.SortFunc(v.Parameters, func(a, b Parameter) int { return strings.Compare(a.Name, b.Name) })
	return v
}
