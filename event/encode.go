package event

import (
	"math"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Encode returns OTLP logs with one record for each event. All events must come
// from the same sensor session: the resource is taken from the first.
func Encode(events []Event) plog.Logs {
	logs := plog.NewLogs()
	if len(events) == 0 {
		return logs
	}
	rl := logs.ResourceLogs().AppendEmpty()
	encodeResource(rl.Resource().Attributes(), events[0])
	sl := rl.ScopeLogs().AppendEmpty()
	sl.Scope().SetName(ScopeName)
	sl.LogRecords().EnsureCapacity(len(events))
	for _, e := range events {
		encodeRecord(sl.LogRecords().AppendEmpty(), e)
	}
	return logs
}

func encodeResource(attributes pcommon.Map, e Event) {
	attributes.PutStr(string(semconv.ServiceNameKey), ServiceName)
	attributes.PutStr(string(semconv.OSTypeKey), semconv.OSTypeLinux.Value.AsString())
	for i := range commonFields {
		if f := &commonFields[i]; f.Scope == ScopeResource {
			put(attributes, f.Attribute, f.at(e))
		}
	}
}

func encodeRecord(record plog.LogRecord, e Event) {
	env := e.Env()
	record.SetEventName(e.Kind().EventName())
	record.SetTimestamp(pcommon.NewTimestampFromTime(env.Timestamp))
	record.SetSeverityNumber(plog.SeverityNumberInfo)
	fields := kinds[e.Kind()].fields
	attributes := record.Attributes()
	attributes.EnsureCapacity(len(fields))
	for i := range fields {
		if f := &fields[i]; f.Scope == ScopeRecord {
			put(attributes, f.Attribute, f.at(e))
		}
	}
	for name, value := range env.Attributes {
		attributes.PutStr(name, value)
	}
}

// put writes the value that v points to; what is not known stays absent.
func put(to pcommon.Map, name string, v any) {
	switch v := v.(type) {
	case *string:
		if *v != "" {
			to.PutStr(name, *v)
		}
	case *bool:
		to.PutBool(name, *v)
	case *uint16:
		to.PutInt(name, int64(*v))
	case *uint64:
		to.PutInt(name, saturated(*v))
	case *Optional[uint32]:
		if v.Known {
			to.PutInt(name, int64(v.Value))
		}
	case *Optional[uint64]:
		if v.Known {
			to.PutInt(name, saturated(v.Value))
		}
	case *time.Duration:
		to.PutDouble(name, v.Seconds())
	case *Optional[time.Duration]:
		if v.Known {
			to.PutDouble(name, v.Value.Seconds())
		}
	case *netip.Addr:
		to.PutStr(name, v.String())
	case *uuid.UUID:
		to.PutStr(name, v.String())
	case *map[string]uint64:
		m := to.PutEmptyMap(name)
		for key, n := range *v {
			m.PutInt(key, saturated(n))
		}
	case *map[string]string:
		m := to.PutEmptyMap(name)
		for key, text := range *v {
			m.PutStr(key, text)
		}
	}
}

// saturated is a number as OTLP can carry it: its integers have a sign.
func saturated(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
