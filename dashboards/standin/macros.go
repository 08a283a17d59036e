package standin

import (
	"fmt"
	"regexp"
	"strings"
)

const conditional = "$__conditionalAll("

var conditionalVariable = regexp.MustCompile(`^\$(?:\{(\w+)\}|(\w+))$`)

// conditionalAll takes a condition out where its variable is empty or has all chosen.
// Like the plugin, it counts parentheses and knows no quotes.
func (v View) conditionalAll(sql string) (string, error) {
	for {
		at := strings.LastIndex(sql, conditional)
		if at < 0 {
			return sql, nil
		}
		arguments, end := argumentsOf(sql[at+len(conditional)-1:])
		if end < 0 || len(arguments) != 2 {
			return "", fmt.Errorf("$__conditionalAll at %q: use it with a condition and a variable, and balanced parentheses", start(sql[at:]))
		}
		part := conditionalVariable.FindStringSubmatch(strings.TrimSpace(arguments[1]))
		if part == nil {
			return "", fmt.Errorf("$__conditionalAll of %q: use $name or ${name}", strings.TrimSpace(arguments[1]))
		}
		variable, ok := v.Variables[part[1]+part[2]]
		if !ok {
			return "", fmt.Errorf("$__conditionalAll: the dashboard has no variable %q", part[1]+part[2])
		}
		condition := arguments[0]
		// The plugin gives the condition to JavaScript's replace, which reads these.
		for _, pattern := range []string{"$$", "$&", "$`", "$'"} {
			if strings.Contains(condition, pattern) {
				return "", fmt.Errorf("$__conditionalAll: the condition %q holds %s, which the plugin changes", condition, pattern)
			}
		}
		if variable.all() || strings.Join(variable.Values, ",") == "" {
			condition = "1=1"
		}
		sql = sql[:at] + condition + sql[at+len(conditional)-1+end:]
	}
}

// argumentsOf a text that begins with a parenthesis, and where the one that ends them
// does; -1 where none does.
func argumentsOf(text string) (arguments []string, end int) {
	depth, begin := 0, 1
	for i := range len(text) {
		switch {
		case text[i] == '(':
			depth++
		case text[i] == ',' && depth == 1:
			arguments, begin = append(arguments, text[begin:i]), i+1
		case text[i] == ')':
			if depth--; depth == 0 {
				return append(arguments, text[begin:i]), i + 1
			}
		}
	}
	return nil, -1
}

// portable macros are those that every version of the plugin has.
var portable = []string{"$__timeFilter", "$__timeFilter_ms", "$__timeInterval", "$__timeInterval_ms", "$__fromTime", "$__fromTime_ms", "$__toTime", "$__toTime_ms", "$__interval_s"}

var anyMacro = regexp.MustCompile(`\$__\w+`)

// macros expands the portable ones in their strictest reading: some versions split
// arguments at any comma, and some take the next parentheses for the arguments of a
// macro that has none.
func (v View) macros(sql string) (string, error) {
	var out strings.Builder
	for {
		at := anyMacro.FindStringIndex(sql)
		if at == nil {
			out.WriteString(sql)
			return out.String(), nil
		}
		name, rest := sql[at[0]:at[1]], sql[at[1]:]
		out.WriteString(sql[:at[0]])
		expanded, taken, err := v.macro(name, rest)
		if err != nil {
			return "", err
		}
		out.WriteString(expanded)
		sql = rest[taken:]
	}
}

// macro is what stands for one, and how much of the rest are its arguments.
func (v View) macro(name, rest string) (expanded string, taken int, err error) {
	switch name {
	case "$__fromTime", "$__toTime", "$__fromTime_ms", "$__toTime_ms", "$__interval_s":
		if next := strings.IndexAny(rest, "()"); next >= 0 && rest[next] == '(' {
			return "", 0, fmt.Errorf("%s before %q: some versions of the plugin take what follows up to the closing parenthesis for its arguments: write (%s)", name, start(rest), name)
		}
		return v.time(name), 0, nil
	case "$__timeFilter", "$__timeFilter_ms", "$__timeInterval", "$__timeInterval_ms":
		if !strings.HasPrefix(rest, "(") {
			return "", 0, fmt.Errorf("%s at %q: it takes a column in parentheses", name, start(rest))
		}
		arguments, end := argumentsOf(rest)
		if end < 0 || strings.Contains(rest[:end], ",") || strings.TrimSpace(arguments[0]) == "" {
			return "", 0, fmt.Errorf("%s at %q: it takes one column, and nothing with a comma", name, start(rest))
		}
		return v.column(name, strings.TrimSpace(arguments[0])), end, nil
	}
	return "", 0, fmt.Errorf("%s is not a macro of every version of the plugin, or not known here", name)
}

func (v View) time(name string) string {
	switch name {
	case "$__fromTime":
		return fmt.Sprintf("toDateTime(%d)", v.From.Unix())
	case "$__toTime":
		return fmt.Sprintf("toDateTime(%d)", v.To.Unix())
	case "$__fromTime_ms":
		return fmt.Sprintf("fromUnixTimestamp64Milli(%d)", v.From.UnixMilli())
	case "$__toTime_ms":
		return fmt.Sprintf("fromUnixTimestamp64Milli(%d)", v.To.UnixMilli())
	default: // $__interval_s
		return fmt.Sprint(max(1, int64(v.Interval.Seconds())))
	}
}

func (v View) column(name, column string) string {
	switch name {
	case "$__timeFilter":
		return fmt.Sprintf("%s >= %s AND %s <= %s", column, v.time("$__fromTime"), column, v.time("$__toTime"))
	case "$__timeFilter_ms":
		return fmt.Sprintf("%s >= %s AND %s <= %s", column, v.time("$__fromTime_ms"), column, v.time("$__toTime_ms"))
	case "$__timeInterval":
		return fmt.Sprintf("toStartOfInterval(toDateTime(%s), INTERVAL %s second)", column, v.time("$__interval_s"))
	default: // $__timeInterval_ms
		return fmt.Sprintf("toStartOfInterval(toDateTime64(%s, 3), INTERVAL %d millisecond)", column, max(1, v.Interval.Milliseconds()))
	}
}

// comment is a string, which may hold what looks like a comment, or a comment.
var comment = regexp.MustCompile(`(?s)'(?:[^'\\]|\\.)*'|--[^\n]*|/\*.*?\*/`)

// checkComments refuses $__ in a comment: it is expanded there too, by some versions.
func checkComments(sql string) error {
	for _, text := range comment.FindAllString(sql, -1) {
		if text[0] != '\'' && strings.Contains(text, "$__") {
			return fmt.Errorf("a macro in the comment %q: name it without $__", start(text))
		}
	}
	return nil
}

// start of a text, for errors.
func start(text string) string {
	if len(text) > 40 {
		return text[:40] + "…"
	}
	return text
}
