package query

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

const formatTable = "table"

// Formats are the forms of an answer.
var Formats = []string{formatTable, "json", "csv"}

// narrow are the columns that a table shows of a view with many; the other
// forms have all.
var narrow = map[string][]string{
	"completed_flows":   {"timestamp", "sensor_id", "source_address", "source_port", "destination_address", "destination_port", "final_state", "final_detail", "bytes_sent", "bytes_received", "binary", "duration_secs"},
	"connections":       connectionColumns,
	"connections_after": connectionColumns,
	"events_after":      eventColumns,
	"events_search":     eventColumns,
	"flows":             flowColumns,
	"flows_after":       flowColumns,
	"listeners":         {"sensor_id", "local_address", "local_port", "pid", "binary", "user", "container_id", "stale"},
	"listeners_after":   {"sensor_id", "transport", "local_address", "local_port", "service", "pid", "binary", "user", "stale", "cursor"},
	"newest_heartbeats": {"sensor_id", "host_name", "timestamp", "heartbeat", "connections", "tcp_listeners", "udp_listeners", "flows", "mode", "stale"},
	"summary":           {"sensor_id", "host_name", "stale", "age_secs", "connections", "tcp_listeners", "udp_listeners", "flows", "events_per_second", "completed_flows", "failed_connects", "lost", "mode"},
	"udp_listeners":     {"sensor_id", "local_address", "local_port", "service", "pid", "binary", "user", "ephemeral", "stale"},
}

var (
	connectionColumns = []string{"sensor_id", "state", "direction", "local_address", "local_port", "remote_address", "remote_port", "pid", "binary", "user", "duration_secs", "stale"}
	flowColumns       = []string{"sensor_id", "state", "direction", "source_address", "source_port", "destination_address", "destination_port", "bytes_sent", "bytes_received", "pid", "binary", "duration_secs", "stale"}
	eventColumns      = []string{"timestamp", "sensor_id", "kind", "source_address", "source_port", "destination_address", "destination_port", "result", "final_state", "pid", "binary", "remote_name"}
)

func write(out io.Writer, format string, a *answer) error {
	switch format {
	case "json":
		return printJSON(out, a)
	case "csv":
		return printCSV(out, a)
	}
	return printTable(out, a)
}

// printJSON writes an array of objects, a line for each.
func printJSON(out io.Writer, a *answer) error {
	names, before := a.names(), "[\n"
	err := a.each(func(values []any) error {
		var line strings.Builder
		for i, value := range values {
			text, err := json.Marshal(value)
			if err != nil {
				return err
			}
			fmt.Fprintf(&line, "%c%q:%s", "{,"[min(i, 1)], names[i], text)
		}
		_, err := fmt.Fprint(out, before, line.String(), "}")
		before = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	if before == "[\n" {
		_, err = fmt.Fprintln(out, "[]")
	} else {
		_, err = fmt.Fprintln(out, "\n]")
	}
	return err
}

func printCSV(out io.Writer, a *answer) error {
	lines := csv.NewWriter(out)
	if err := lines.Write(a.names()); err != nil {
		return err
	}
	fields := make([]string, len(a.shown))
	err := a.each(func(values []any) error {
		for i, value := range values {
			fields[i] = text(value)
		}
		return lines.Write(fields)
	})
	lines.Flush()
	return errors.Join(err, lines.Error())
}

func printTable(out io.Writer, a *answer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, strings.ToUpper(strings.Join(a.names(), "\t")))
	rows := 0
	fields := make([]string, len(a.shown))
	err := a.each(func(values []any) error {
		rows++
		for i, value := range values {
			if fields[i] = printable(text(value)); fields[i] == "" {
				fields[i] = "-"
			}
		}
		_, err := fmt.Fprintln(table, strings.Join(fields, "\t"))
		return err
	})
	if err != nil {
		return err
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, a.footer(rows))
	return err
}

// footer says how much was shown, and which page where the view has pages.
func (a *answer) footer(rows int) string {
	all, shown := a.rows.Columns(), a.names()
	var values []any
	for _, name := range []string{"current_page", "page_count", "total"} {
		if i := slices.Index(all, name); i >= 0 && rows > 0 && !slices.Contains(shown, name) {
			values = append(values, dereference(a.into[i]))
		}
	}
	if len(values) < 3 {
		return fmt.Sprintf("(%d rows)", rows)
	}
	return fmt.Sprintf("(%d rows, page %v of %v; %v in all, those of stale sensors not counted)", rows, values[0], values[1], values[2])
}

// text of a value in a table or in CSV; empty for NULL.
func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case time.Time:
		return v.UTC().Format("2006-01-02T15:04:05.000Z")
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(value)
}

// printable keeps what a process calls itself from ruling the terminal.
func printable(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return text
	}
	return strings.Trim(strconv.Quote(text), `"`)
}

// list prints the views.
func list(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VIEW\tPARAMETERS\tABOUT")
	for _, v := range clickhouse.Views() {
		var names []string
		for _, p := range v.Parameters {
			names = append(names, p.Name)
		}
		about, _, _ := strings.Cut(v.About, ". ")
		fmt.Fprintf(table, "%s\t%s\t%s\n", v.Name, strings.Join(names, ", "), strings.TrimSuffix(about, "."))
	}
	return table.Flush()
}
