package dashboards

import (
	"fmt"
	"strings"
)

// Everything that puts a variable into SQL stands in this file, and a test refuses
// a variable in any other form. ${x:singlequote} and ${x:sqlstring} leave a
// backslash as it is, which ends the string in ClickHouse; what is percent-encoded
// has no character that SQL knows. The plugin's macros are those that all its
// versions from 4.0 on have.

// typed is what somebody typed into a variable, as text.
func typed(variable string) string {
	return "decodeURLComponent('${" + variable + ":percentencode}')"
}

// picked are the values of a variable that takes several: with commas between them,
// as the views take them, and empty for all. Grafana gives one as it is, several
// as {a,b}, and all as [allValue], which is no name of anything.
func picked(variable string) string {
	return "trim(BOTH '{}' FROM replaceOne(" + typed(variable) + ", '" + allValue + "', ''))"
}

// allValue also is what a matcher of PromQL needs.
const allValue = ".*"

// within is a number that was typed, brought into its range; what is no number
// becomes otherwise.
func within(variable string, low, high, otherwise int) string {
	return fmt.Sprintf("least(%d, greatest(%d, toInt64OrDefault(%s, %d::Int64)))", high, low, typed(variable), otherwise)
}

// The time range of the dashboard as the views take it.
const (
	from = "toTimeZone($__fromTime_ms, 'UTC')"
	to   = "toTimeZone($__toTime_ms, 'UTC')"
)

// call is a view of the schema with its arguments: name, expression, … Those that
// every view takes from the dashboard are filled in: sensor_id, and at, or since
// and until.
func call(view string, arguments ...string) string {
	given := []string{"sensor_id = " + picked("sensor")}
	if overTime[view] {
		given = append(given, "since = "+from, "until = "+to)
	} else {
		given = append(given, "at = "+to)
	}
	for i := 0; i < len(arguments); i += 2 {
		given = append(given, arguments[i]+" = "+arguments[i+1])
	}
	return database + "." + view + "(\n    " + strings.Join(given, ",\n    ") + ")"
}

const database = "netview"

// overTime are the views of a window of time; the others are of a moment.
var overTime = map[string]bool{"completed_flows": true, "events_search": true, "top_talkers": true, "failed_connects": true,
	"names_of_address": true, "dns_failures": true, "dns_names": true, "disruptions": true, "telecom_by_sensor": true}

// An address that is none, and a port that is none, find nothing; the views would
// refuse them with an error. Empty they are not looked at.
var (
	addressHalves = "splitByChar('/', " + typed("address") + ")"
	addressValid  = "(" + typed("address") + " = '' OR toIPv6OrNull(" + addressHalves + "[1]) IS NOT NULL AND (length(" + addressHalves + ") = 1" +
		" OR length(" + addressHalves + ") = 2 AND ifNull(toUInt8OrNull(" + addressHalves + "[2]) <= if(position(" + typed("address") + ", ':') > 0, 128, 32), 0)))"
	portValid = "(" + typed("port") + " = '' OR toUInt16OrNull(" + typed("port") + ") IS NOT NULL)"

	validAddress = "if(" + addressValid + ", " + typed("address") + ", '')"
	validPort    = "toInt64(toUInt16OrDefault(" + typed("port") + ", 0::UInt16))"
)

// The filters of events, as conditions on the columns of the table or of a view of
// it: for numbers that count more than the 500 rows that events_search gives. They
// mean what the parameters of events_search mean.
var (
	bySensor  = "(" + picked("sensor") + " = '' OR sensor_id IN splitByChar(',', " + picked("sensor") + "))"
	byKind    = "(" + picked("kind") + " = '' OR kind IN splitByChar(',', " + picked("kind") + "))"
	byProcess = "(" + typed("process") + " = '' OR binary = " + typed("process") + " OR endsWith(binary, concat('/', " + typed("process") + "))" +
		" OR process_name = " + typed("process") + " OR toString(pid) = " + typed("process") + ")"
	byAddress = addressValid + " AND (" + typed("address") + " = '' OR " + inRange("source_address") + " OR " + inRange("destination_address") + ")"
	byPort    = portValid + " AND (" + typed("port") + " = '' OR source_port = " + validPort + " OR destination_port = " + validPort + ")"
	byName    = "(" + typed("name") + " = '' OR " + isName("remote_name") + " OR " + isName("name") + ")"
	byState   = "(" + picked("state") + " = '' OR final_state IN splitByChar(',', " + picked("state") + "))"
)

// addressRange are the first and last address of the filter, as IPv6.
var addressRange = "IPv6CIDRToRange(toIPv6OrDefault(" + addressHalves + "[1]), toUInt8(if(length(" + addressHalves + ") = 1, 128," +
	" toUInt8OrZero(" + addressHalves + "[2]) + if(position(" + typed("address") + ", ':') > 0, 0, 96))))"

func inRange(column string) string {
	return "toIPv6OrNull(toString(" + column + ")) BETWEEN " + addressRange + ".1 AND " + addressRange + ".2"
}

func isName(column string) string {
	name := "lower(trimRight(" + typed("name") + ", '.'))"
	return "lower(" + column + ") = " + name + " OR endsWith(lower(" + column + "), concat('.', " + name + "))"
}

// eventsOf are the events of the window and the sensors, of kinds (all where there
// is none), without duplicates, that meet the conditions.
func eventsOf(kinds []string, conditions ...string) string {
	all := []string{"timestamp >= " + from + " AND timestamp < " + to, bySensor}
	if len(kinds) > 0 {
		all = append(all, "kind IN ('"+strings.Join(kinds, "', '")+"')")
	}
	return database + ".events FINAL" + where(append(all, conditions...)...)
}

func where(conditions ...string) string {
	if len(conditions) == 0 {
		return ""
	}
	return "\nWHERE " + strings.Join(conditions, "\n    AND ")
}
