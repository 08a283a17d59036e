package standin

import (
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// reference is $name, [[name]], [[name:format]], ${name}, ${name.field} or ${name:format}.
var reference = regexp.MustCompile(`\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}`)

// replace puts the variables in, once: what a value holds is not looked at again. What
// is expanded later stays.
func (v View) replace(text string, builtin map[string]string, later []string, byDefault formatter) (string, error) {
	var failed error
	text = reference.ReplaceAllStringFunc(text, func(match string) string {
		part := reference.FindStringSubmatch(match)
		name, format := part[1]+part[2]+part[4], part[3]+part[6]
		if part[5] != "" {
			failed = fmt.Errorf("%s: fields of variables are not known here: use a variable of its own", match)
			return match
		}
		if slices.Contains(later, match) {
			return match
		}
		if text, ok := builtin[name]; ok {
			if format != "" {
				failed = fmt.Errorf("%s: formats of built-in variables are not known here: use $%s", match, name)
			}
			return text
		}
		variable, ok := v.Variables[name]
		if !ok {
			failed = fmt.Errorf("%s: the dashboard has no variable %q", match, name)
			return match
		}
		text, err := formatted(name, variable, format, byDefault)
		if err != nil {
			failed = fmt.Errorf("%s: %w", match, err)
		}
		return text
	})
	return text, failed
}

// formatter makes one text of a variable.
type formatter func(name string, variable Variable) string

func formatted(name string, variable Variable, format string, byDefault formatter) (string, error) {
	f := byDefault
	if format != "" {
		var ok bool
		if f, ok = formats[format]; !ok {
			return "", fmt.Errorf("the format %q is not known here", format)
		}
	}
	// A custom all value is taken as it is by all formats but these.
	if variable.all() && variable.AllValue != "" && format != "percentencode" && format != "queryparam" && format != "text" {
		return variable.AllValue, nil
	}
	return f(name, variable), nil
}

// formats are those of Grafana's formatRegistry.ts.
var formats = map[string]formatter{
	"raw":           each(func(s string) string { return s }, "", ",", ""),
	"csv":           each(func(s string) string { return s }, "", ",", ""),
	"pipe":          each(func(s string) string { return s }, "", "|", ""),
	"regex":         regex(escapeRegex),
	"glob":          glob,
	"json":          asJSON,
	"text":          formatText,
	"percentencode": percentEncode,
	"queryparam":    queryParameters,
	// Neither of these escapes a backslash: on ClickHouse, a value can end the string.
	"singlequote": each(func(s string) string { return "'" + strings.ReplaceAll(s, "'", `\'`) + "'" }, "", ",", ""),
	"doublequote": each(func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }, "", ",", ""),
	"sqlstring":   each(func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }, "", ",", ""),
}

func each(one func(string) string, before, between, after string) formatter {
	return func(_ string, variable Variable) string {
		v := variable.value()
		texts := make([]string, len(v.values))
		for i, s := range v.values {
			texts[i] = one(s)
		}
		if !v.list {
			return texts[0]
		}
		return before + strings.Join(texts, between) + after
	}
}

func regex(escape func(string) string) formatter {
	several := each(escape, "(", "|", ")")
	return func(name string, variable Variable) string {
		if v := variable.value(); len(v.values) == 1 {
			return escape(v.values[0])
		}
		return several(name, variable)
	}
}

func glob(_ string, variable Variable) string {
	v := variable.value()
	if len(v.values) > 1 {
		return "{" + strings.Join(v.values, ",") + "}"
	}
	return strings.Join(v.values, "")
}

func asJSON(_ string, variable Variable) string {
	var text []byte
	if v := variable.value(); v.list {
		text, _ = json.Marshal(v.values)
	} else {
		text, _ = json.Marshal(v.values[0])
	}
	return string(text)
}

func formatText(_ string, variable Variable) string {
	if variable.all() {
		return "All"
	}
	return strings.Join(variable.Values, " + ")
}

func percentEncode(_ string, variable Variable) string {
	if v := variable.value(); v.list {
		return encode("{" + strings.Join(v.values, ",") + "}")
	} else {
		return encode(v.values[0])
	}
}

// queryParameters are those of a URL that opens a dashboard with the same choice; all
// is [All] there.
func queryParameters(name string, variable Variable) string {
	values := variable.value().values
	if variable.all() {
		values = []string{All}
	}
	texts := make([]string, len(values))
	for i, s := range values {
		texts[i] = "var-" + name + "=" + encode(s)
	}
	return strings.Join(texts, "&")
}

// encode leaves letters, digits and -_.~ as they are (RFC 3986), like Grafana's
// encodeURIComponentStrict.
func encode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

var regexSpecial = regexp.MustCompile(`[\\^$*+?.()|\[\]{}/]`)

func escapeRegex(s string) string { return regexSpecial.ReplaceAllString(s, `\$0`) }

// formatQuoted is what the ClickHouse plugin does to a variable without a format: it
// escapes nothing.
var formatQuoted = each(func(s string) string { return s }, "'", "','", "'")

// formatPrometheus is what the Prometheus data source does to a variable without a
// format: escaped for a regular expression in a string between quotes, where several or
// all can be chosen; it does not escape the quotes.
func formatPrometheus(name string, variable Variable) string {
	if !variable.Multi && !variable.IncludeAll {
		return strings.NewReplacer(`\`, `\\`, `'`, `\\'`).Replace(variable.value().values[0])
	}
	return regex(func(s string) string {
		return prometheusSpecial.ReplaceAllString(strings.ReplaceAll(s, `\`, `\\\\`), `\\$0`)
	})(name, variable)
}

var prometheusSpecial = regexp.MustCompile(`[$^*{}\[\]'+?.()|]`)
