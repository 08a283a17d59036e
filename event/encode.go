package event

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/plog"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/protobuf/encoding/protowire"
)

// Encoder writes events as OTLP logs in protobuf form. It goes to the wire
// without pdata, as [Decoder] does from it: a sensor encodes every event of a busy
// host, and an encoder that has met its largest request allocates nothing. It is
// not safe for concurrent use.
type Encoder struct {
	resource, records, record, values, text []byte
}

// Append writes an ExportLogsServiceRequest, which is LogsData too, with one record
// for each event. All events must come from the same sensor session: the resource
// is taken from the first.
func (e *Encoder) Append(to []byte, events []Event) []byte {
	if len(events) == 0 {
		return to
	}
	e.resource = appendText(e.resource[:0], resourceAttributes, string(semconv.ServiceNameKey), ServiceName)
	e.resource = appendText(e.resource, resourceAttributes, string(semconv.OSTypeKey), osTypeLinux)
	for i := range commonFields {
		if f := &commonFields[i]; f.Scope == ScopeResource {
			e.resource = e.put(e.resource, resourceAttributes, f.Attribute, f.at(events[0]))
		}
	}
	e.records = appendMessage(e.records[:0], scopeLogsScope, scope)
	for _, event := range events {
		e.encodeRecord(event)
		e.records = appendMessage(e.records, scopeLogsRecords, e.record)
	}
	to = appendHeader(to, requestLogs, sizeOfMessage(resourceLogsResource, len(e.resource))+sizeOfMessage(resourceLogsScopes, len(e.records)))
	to = appendMessage(to, resourceLogsResource, e.resource)
	return appendMessage(to, resourceLogsScopes, e.records)
}

// Encode is [Encoder.Append] for those who work with pdata.
func Encode(events []Event) plog.Logs {
	logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(new(Encoder).Append(nil, events))
	if err != nil {
		panic(err) // it was made here
	}
	return logs
}

var (
	scope       = protowire.AppendString(protowire.AppendTag(nil, scopeName, protowire.BytesType), ScopeName)
	osTypeLinux = semconv.OSTypeLinux.Value.AsString()
)

// severityInfo is SEVERITY_NUMBER_INFO.
const severityInfo = 9

func (e *Encoder) encodeRecord(event Event) {
	env := event.Env()
	r := protowire.AppendTag(e.record[:0], recordTime, protowire.Fixed64Type)
	r = protowire.AppendFixed64(r, uint64(env.Timestamp.UnixNano()))
	r = protowire.AppendTag(r, recordSeverity, protowire.VarintType)
	r = protowire.AppendVarint(r, severityInfo)
	fields := kinds[event.Kind()].fields
	for i := range fields {
		if f := &fields[i]; f.Scope == ScopeRecord {
			r = e.put(r, recordAttributes, f.Attribute, f.at(event))
		}
	}
	for name, value := range env.Attributes {
		r = appendText(r, recordAttributes, name, value)
	}
	r = protowire.AppendTag(r, recordEventName, protowire.BytesType)
	r = protowire.AppendVarint(r, uint64(len(namePrefix)+len(event.Kind())))
	e.record = append(append(r, namePrefix...), event.Kind()...)
}

// put appends an attribute with the value that v points to; what is not known
// stays absent.
func (e *Encoder) put(to []byte, field protowire.Number, name string, v any) []byte {
	switch v := v.(type) {
	case *string:
		if *v != "" {
			to = appendText(to, field, name, *v)
		}
	case *bool:
		to = appendBool(to, field, name, *v)
	case *Optional[bool]:
		if v.Known {
			to = appendBool(to, field, name, v.Value)
		}
	case *uint16:
		to = appendInt(to, field, name, uint64(*v))
	case *uint64:
		to = appendInt(to, field, name, *v)
	case *Optional[uint32]:
		if v.Known {
			to = appendInt(to, field, name, uint64(v.Value))
		}
	case *Optional[uint64]:
		if v.Known {
			to = appendInt(to, field, name, v.Value)
		}
	case *time.Duration:
		to = appendDouble(to, field, name, v.Seconds())
	case *Optional[time.Duration]:
		if v.Known {
			to = appendDouble(to, field, name, v.Value.Seconds())
		}
	case *netip.Addr:
		e.text = v.AppendTo(e.text[:0])
		to = appendText(to, field, name, e.text)
	case *uuid.UUID:
		text, _ := v.MarshalText() // it has no error
		to = appendText(to, field, name, text)
	case *[]string:
		e.values = e.values[:0]
		for _, text := range *v {
			e.values = appendHeader(e.values, arrayValues, sizeOfMessage(anyString, len(text)))
			e.values = protowire.AppendString(protowire.AppendTag(e.values, anyString, protowire.BytesType), text)
		}
		to = e.putList(to, field, name)
	case *[]uint32:
		e.values = e.values[:0]
		for _, n := range *v {
			e.values = appendHeader(e.values, arrayValues, sizeOfTag(anyInt)+protowire.SizeVarint(uint64(n)))
			e.values = protowire.AppendVarint(protowire.AppendTag(e.values, anyInt, protowire.VarintType), uint64(n))
		}
		to = e.putList(to, field, name)
	case *map[string]uint64:
		e.values = e.values[:0]
		for key, n := range *v {
			e.values = appendInt(e.values, mapEntries, key, n)
		}
		to = e.putMap(to, field, name)
	case *map[string]string:
		e.values = e.values[:0]
		for key, text := range *v {
			e.values = appendText(e.values, mapEntries, key, text)
		}
		to = e.putMap(to, field, name)
	}
	return to
}

// putList appends a list of the entries in values, unless it is empty.
func (e *Encoder) putList(to []byte, field protowire.Number, name string) []byte {
	if len(e.values) == 0 {
		return to
	}
	to = appendKey(to, field, name, sizeOfMessage(anyArray, len(e.values)))
	return appendMessage(to, anyArray, e.values)
}

// putMap appends a map of the entries in values.
func (e *Encoder) putMap(to []byte, field protowire.Number, name string) []byte {
	to = appendKey(to, field, name, sizeOfMessage(anyMap, len(e.values)))
	return appendMessage(to, anyMap, e.values)
}

// appendKey appends all of a KeyValue but the content of its AnyValue, which has
// a size and is to follow.
func appendKey(to []byte, field protowire.Number, name string, size int) []byte {
	to = appendHeader(to, field, sizeOfMessage(keyValueKey, len(name))+sizeOfMessage(keyValueValue, size))
	to = protowire.AppendString(protowire.AppendTag(to, keyValueKey, protowire.BytesType), name)
	return appendHeader(to, keyValueValue, size)
}

// appendHeader appends what precedes the content of a message of a size.
func appendHeader(to []byte, field protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, field, protowire.BytesType), uint64(size))
}

func appendBool(to []byte, field protowire.Number, name string, is bool) []byte {
	to = appendKey(to, field, name, sizeOfTag(anyBool)+1)
	return protowire.AppendVarint(protowire.AppendTag(to, anyBool, protowire.VarintType), protowire.EncodeBool(is))
}

func appendText[T string | []byte](to []byte, field protowire.Number, name string, text T) []byte {
	to = appendKey(to, field, name, sizeOfMessage(anyString, len(text)))
	to = protowire.AppendTag(to, anyString, protowire.BytesType)
	return append(protowire.AppendVarint(to, uint64(len(text))), text...)
}

// appendInt appends a number that is at most [math.MaxInt64]: OTLP's integers have
// a sign. A larger one stays at that.
func appendInt(to []byte, field protowire.Number, name string, n uint64) []byte {
	n = min(n, math.MaxInt64)
	to = appendKey(to, field, name, sizeOfTag(anyInt)+protowire.SizeVarint(n))
	return protowire.AppendVarint(protowire.AppendTag(to, anyInt, protowire.VarintType), n)
}

func appendDouble(to []byte, field protowire.Number, name string, x float64) []byte {
	to = appendKey(to, field, name, sizeOfTag(anyDouble)+8)
	to = protowire.AppendTag(to, anyDouble, protowire.Fixed64Type)
	return binary.LittleEndian.AppendUint64(to, math.Float64bits(x))
}

func sizeOfTag(field protowire.Number) int { return protowire.SizeTag(field) }

// sizeOfMessage is that of a field with a length.
func sizeOfMessage(field protowire.Number, length int) int {
	return sizeOfTag(field) + protowire.SizeBytes(length)
}
