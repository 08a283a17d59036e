package fleet

import (
	"context"
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"text/template"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

//go:embed inside.sql.tmpl
var insideText string

var insideTemplate = template.Must(template.New("inside").Funcs(template.FuncMap{"array": literal, "choice": choice}).Parse(insideText))

// tables that the template fills, in the order in which the receiver commits
// them: a heartbeat comes after its rows.
var tables = []string{"events", "connections", "listeners", "flows", "heartbeats"}

// rowsPerInsert is about how many connections one INSERT makes: enough that the
// inserts are large, and that what ClickHouse sorts meanwhile stays small.
const rowsPerInsert = 4_000_000

// Inside writes the rows of the heartbeats from first to last by INSERT SELECT
// inside of ClickHouse: those that [Send] would have brought there, but for the
// time of their receipt. It may be interrupted and done again: the rows replace
// themselves. It calls progress with the number of sensors that are done.
func (f *Fleet) Inside(ctx context.Context, conn driver.Conn, database string, first, last uint64, progress func(sensors int)) error {
	return f.Fill(ctx, conn, database, tables, first, last, progress)
}

// Fill is [Fleet.Inside] for some of the tables alone: events, connections,
// listeners, flows and heartbeats.
func (f *Fleet) Fill(ctx context.Context, conn driver.Conn, database string, tables []string, first, last uint64, progress func(sensors int)) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"max_partitions_per_insert_block": 0, // weeks in one insert are meant here
		"async_insert":                    0,
	}))
	chunk := max(1, rowsPerInsert/(f.Connections*int(last)))
	for from := 1; from <= f.Sensors; from += chunk {
		to := min(from+chunk-1, f.Sensors)
		for _, table := range tables {
			if err := conn.Exec(ctx, f.insert(table, database, from, to, first, last)); err != nil {
				return fmt.Errorf("filling the table of %s for the sensors %d to %d: %w", table, from, to, err)
			}
		}
		progress(to)
	}
	return nil
}

// insert is the statement that fills a table.
func (f *Fleet) insert(table, database string, firstSensor, lastSensor int, firstBeat, lastBeat uint64) string {
	data := map[string]any{
		"Fleet": f, "Database": database, "FirstSensor": firstSensor, "LastSensor": lastSensor, "FirstBeat": firstBeat, "LastBeat": lastBeat,
		"Start": f.Start.UnixMilli(), "Interval": f.milliseconds(), "Prefix": Prefix, "Version": Version,
		"RoleOf": roleOf, "Arches": arches, "Kernels": kernels, "States": states, "Results": results, "FinalDetails": finalDetails, "RCodes": rcodes,
		"SaltID": saltID, "SaltSlots": saltSlots, "SaltShort": saltShort, "SaltEphemeral": saltEphemeral, "SaltPrograms": saltPrograms, "SaltBeats": saltBeats,
		"SaltInode": saltInode, "SaltTimes": saltTimes, "SaltBytes": saltBytes, "SaltAsk": saltAsk, "SaltTCP": saltTCP,
		"AtTook": atTook, "AtAskID": atAskID, "AtAskPort": atAskPort, "AtTTL": atTTL, "Resolver": resolver, "Library": library,
		"NoAnswerAfter": noAnswerAfter.Milliseconds(), "LongestAnswer": longestAnswer.Milliseconds(), "AnswerToConnect": answerToConnect.Milliseconds(), "LongestTTL": int(longestTTL.Seconds()),
		"AtTalk": atTalk, "AtPort": atPort, "AtPeer": atPeer, "AtFamily": atFamily, "AtState": atState,
		"FirstEphemeral": firstEphemeral, "EphemeralPorts": ephemeralPorts, "Services": services, "FirstInode": firstInode,
	}
	var names []string
	var namespaces []int
	var listeners [][]listener
	var talks struct {
		First, Count, Port, Program []int
		Inbound, Outside            []bool
	}
	for i := range roles {
		r := &roles[i]
		names, namespaces, listeners = append(names, r.name), append(namespaces, r.namespaces()), append(listeners, r.allListeners())
		talks.First, talks.Count = append(talks.First, len(talks.Port)), append(talks.Count, len(r.talks))
		for _, t := range r.talks {
			talks.Port, talks.Program = append(talks.Port, t.port), append(talks.Program, t.program)
			talks.Inbound, talks.Outside = append(talks.Inbound, t.inbound), append(talks.Outside, t.outside)
		}
	}
	data["RoleNames"], data["Namespaces"], data["Listeners"], data["Talks"] = names, namespaces, listeners, talks
	var all struct {
		Names, Binaries, Users []*string // null of the kernel
		Workers                []int
		Namespaces             []uint64
		Containers             []bool
	}
	for i, p := range programs {
		text := func(s string) *string {
			if s == "" {
				return nil
			}
			return &s
		}
		all.Names, all.Binaries, all.Users = append(all.Names, text(p.name)), append(all.Binaries, text(p.binary)), append(all.Users, text(p.user))
		all.Workers, all.Namespaces, all.Containers = append(all.Workers, p.workers), append(all.Namespaces, netnsOf(i)), append(all.Containers, p.container)
	}
	data["Programs"] = all
	var sql strings.Builder
	if err := insideTemplate.ExecuteTemplate(&sql, table, data); err != nil {
		panic(err) // the template and its data are this package's
	}
	return sql.String()
}

// literal is a value of this package in SQL: nothing in it has to be escaped.
func literal(value any) string {
	v := reflect.ValueOf(value)
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literal(v.Index(i).Interface())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Pointer:
		if v.IsNil() {
			return "NULL"
		}
		return literal(v.Elem().Interface())
	case reflect.String:
		return "'" + v.String() + "'"
	}
	if l, is := value.(listener); is {
		return fmt.Sprintf("('%s', '%s', %d, %d)", l.transport, l.address, l.port, l.program)
	}
	return fmt.Sprint(value)
}

// choice is [of] in SQL.
func choice(frequencies []frequency, number string) string {
	var sql strings.Builder
	sql.WriteString("multiIf(")
	last := len(frequencies) - 1
	for _, f := range frequencies[:last] {
		fmt.Fprintf(&sql, "%s < %d, '%s', ", number, f.below, f.text)
	}
	fmt.Fprintf(&sql, "'%s')", frequencies[last].text)
	return sql.String()
}
