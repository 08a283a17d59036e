package event

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/protobuf/encoding/protowire"
)

// Cause names why a record was refused. It is the value of a metric label.
type Cause string

// The causes for which a record is refused.
const (
	CauseForeign     Cause = "foreign"      // not a netview event
	CauseUnknownKind Cause = "unknown_kind" // a kind this version does not know
	CauseMissing     Cause = "missing"      // a required attribute is absent
	CauseWrongType   Cause = "wrong_type"   // a known attribute of another type
	CauseOutOfRange  Cause = "out_of_range" // a known attribute with an impossible value
)

// Causes lists every [Cause], for metrics that start at zero.
func Causes() []Cause {
	return []Cause{CauseForeign, CauseUnknownKind, CauseMissing, CauseWrongType, CauseOutOfRange}
}

// RecordError says why one record was refused. Nothing else is lost with it.
type RecordError struct {
	Cause Cause
	// Attribute that is at fault; empty where it is the event name.
	Attribute string
	// Detail names the value and what is wrong with it.
	Detail string
}

func (e *RecordError) Error() string {
	if e.Attribute == "" {
		return e.Detail
	}
	return e.Attribute + ": " + e.Detail
}

// longest is how much of a refused value an error quotes, in bytes.
const longest = 80

// MaxRecords is the greatest number of records of a request: empty ones take two
// bytes each, and as long to refuse as others.
const MaxRecords = 100_000

// Limits of one record. What a sensor sends lies far below; a record beyond one
// is refused alone.
const (
	// MaxText is the longest string, in bytes.
	MaxText = 64 << 10
	// MaxList is the greatest number of entries of a list.
	MaxList = 256
	// MaxUnknown is the greatest number of attributes that this version does not know.
	MaxUnknown = 256
)

func refuse(cause Cause, attribute, format string, args ...any) *RecordError {
	return &RecordError{Cause: cause, Attribute: attribute, Detail: fmt.Sprintf(format, args...)}
}

// Decoder reads OTLP logs requests in protobuf form, straight from the bytes of
// the wire: going through pdata costs several times as much. It is not safe for
// concurrent use.
type Decoder struct {
	// texts holds strings that were met before: paths, states and names repeat
	// in nearly every record.
	texts map[string]string
	// records of the request so far.
	records int
	// given are the events of this round, free those of earlier rounds.
	given, free map[*kindSpec][]Event
}

// NewDecoder returns a decoder.
func NewDecoder() *Decoder {
	return &Decoder{texts: map[string]string{}, given: map[*kindSpec][]Event{}, free: map[*kindSpec][]Event{}}
}

// Recycle takes back every event that the decoder has given since the last call,
// for use in later ones. Nobody may hold one any longer.
func (d *Decoder) Recycle() {
	for spec, events := range d.given {
		for _, e := range events {
			spec.clear(e)
		}
		d.free[spec] = append(d.free[spec], events...)
		clear(events)
		d.given[spec] = events[:0]
	}
}

func (d *Decoder) make(spec *kindSpec) (e Event) {
	if free := d.free[spec]; len(free) > 0 {
		e, d.free[spec] = free[len(free)-1], free[:len(free)-1]
	} else {
		e = spec.make()
	}
	d.given[spec] = append(d.given[spec], e)
	return e
}

// Record is one log record of a request: its event, or why it is refused.
type Record struct {
	Event Event
	Err   *RecordError
	// Timestamp as it was sent, in Unix nanoseconds.
	Timestamp uint64

	resource, record []byte
}

// Logs returns the record alone as OTLP logs, with its resource.
func (r *Record) Logs() (plog.Logs, error) {
	scope := appendMessage(nil, scopeLogsRecords, r.record)
	logs := appendMessage(nil, resourceLogsResource, r.resource)
	logs = appendMessage(logs, resourceLogsScopes, scope)
	return (&plog.ProtoUnmarshaler{}).UnmarshalLogs(appendMessage(nil, requestLogs, logs))
}

func appendMessage(to []byte, number protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), message)
}

// Fields of the OTLP messages (opentelemetry/proto/logs/v1, common/v1).
const (
	requestLogs          protowire.Number = 1
	resourceLogsResource protowire.Number = 1
	resourceLogsScopes   protowire.Number = 2
	resourceAttributes   protowire.Number = 1
	scopeLogsScope       protowire.Number = 1
	scopeName            protowire.Number = 1
	scopeLogsRecords     protowire.Number = 2
	recordTime           protowire.Number = 1
	recordSeverity       protowire.Number = 2
	recordAttributes     protowire.Number = 6
	recordEventName      protowire.Number = 12
	keyValueKey          protowire.Number = 1
	keyValueValue        protowire.Number = 2
	anyString            protowire.Number = 1
	anyBool              protowire.Number = 2
	anyInt               protowire.Number = 3
	anyDouble            protowire.Number = 4
	anyArray             protowire.Number = 5
	anyMap               protowire.Number = 6
	anyBytes             protowire.Number = 7
	arrayValues          protowire.Number = 1
	mapEntries           protowire.Number = 1
)

// Decode gives take each log record of a request in turn. Attributes that are
// not known are kept as text in the envelope. Strings that are not UTF-8 get the
// replacement character in place of what is not. An error says that the bytes
// are no OTLP logs request; what take was given by then must not be used.
func (d *Decoder) Decode(request []byte, take func(Record)) error {
	d.records = 0
	c := cursor{rest: request}
	for c.next() {
		if c.is(requestLogs, protowire.BytesType) {
			if err := d.resourceLogs(c.content, take); err != nil {
				return err
			}
		}
	}
	return c.err
}

// resourceLogs reads the resource first: encoders may write it after the records.
func (d *Decoder) resourceLogs(message []byte, take func(Record)) error {
	var resource source
	c := cursor{rest: message}
	for c.next() {
		if c.is(resourceLogsResource, protowire.BytesType) {
			if err := d.resource(c.content, &resource); err != nil {
				return err
			}
		}
	}
	if c.err != nil {
		return c.err
	}
	for c = (cursor{rest: message}); c.next(); {
		if c.is(resourceLogsScopes, protowire.BytesType) {
			records := cursor{rest: c.content}
			for records.next() {
				if records.is(scopeLogsRecords, protowire.BytesType) {
					if d.records++; d.records > MaxRecords {
						return fmt.Errorf("it has more than %d records: send fewer at a time", MaxRecords)
					}
					record := Record{resource: resource.message, record: records.content}
					if err := d.record(&record, &resource); err != nil {
						return err
					}
					take(record)
				}
			}
			if records.err != nil {
				return records.err
			}
		}
	}
	return c.err
}

// source is a resource: what all of its records share.
type source struct {
	message []byte
	// common has the fields of the resource in its envelope.
	common Heartbeat
	seen   uint64
	err    *RecordError
}

func (d *Decoder) resource(message []byte, s *source) error {
	s.message = message
	spec := kinds[KindHeartbeat] // the common fields stand at the same places in every kind
	seen, refused, err := d.attributes(message, resourceAttributes, ScopeResource, spec, &s.common)
	s.seen |= seen
	if s.err == nil {
		s.err = refused
	}
	if bad := CheckSensorID(s.common.SensorID); bad != nil && s.err == nil && s.seen&(1<<spec.index[ScopeResource][AttrSensorID]) != 0 {
		s.err = refuse(CauseOutOfRange, AttrSensorID, "%v", bad)
	}
	return err
}

// record decodes r.record. Its error says that the bytes are malformed.
func (d *Decoder) record(r *Record, resource *source) error {
	var name []byte
	c := cursor{rest: r.record}
	for c.next() {
		switch {
		case c.is(recordTime, protowire.Fixed64Type):
			r.Timestamp = c.bits
		case c.is(recordEventName, protowire.BytesType):
			name = c.content
		}
	}
	if c.err != nil {
		return c.err
	}
	spec := kindsByName[string(name)]
	if spec == nil {
		r.Err = refuseName(string(name))
	} else if resource.err != nil {
		r.Err = resource.err
	}
	if r.Err != nil {
		return nil
	}
	e := d.make(spec)
	env := e.Env()
	*env = resource.common.Envelope
	env.Timestamp = time.Unix(0, int64(r.Timestamp)).UTC()
	seen, refused, err := d.attributes(r.record, recordAttributes, ScopeRecord, spec, e)
	if err != nil {
		return err
	}
	if refused == nil {
		refused = spec.check(env, seen|resource.seen)
	}
	if r.Err = refused; refused == nil {
		r.Event = e
	}
	return nil
}

func refuseName(name string) *RecordError {
	kind, ours := KindOf(name)
	if !ours {
		return refuse(CauseForeign, "", "event name %.*q is not one of netview's: they begin with %q", longest, name, namePrefix)
	}
	return refuse(CauseUnknownKind, "", "kind %.*q is not known to this receiver: known are %v", longest, kind, Kinds())
}

// check judges a record whose attributes, of which seen are the known ones, are
// each as they should be.
func (s *kindSpec) check(env *Envelope, seen uint64) *RecordError {
	if missing := s.required &^ seen; missing != 0 {
		return refuse(CauseMissing, s.fields[bits.TrailingZeros64(missing)].Attribute, "is missing")
	}
	if env.Sequence == 0 {
		return refuse(CauseOutOfRange, AttrSequence, "0 is out of range: it counts from 1")
	}
	return nil
}

// attributes stores the attributes in the given field of a message that the kind
// knows in this scope, and keeps the others. It returns the set of the fields it met, by
// position, and the first attribute that is not as it should be.
func (d *Decoder) attributes(message []byte, number protowire.Number, scope Scope, spec *kindSpec, e Event) (seen uint64, refused *RecordError, err error) {
	shared := e.Env().Attributes // of the resource: other records have it too
	unknown, next := 0, 0
	c := cursor{rest: message}
	for c.next() {
		if !c.is(number, protowire.BytesType) {
			continue
		}
		key, v, err := keyValue(c.content)
		if err != nil {
			return 0, nil, err
		}
		if refused != nil {
			continue // the rest must be well-formed all the same
		}
		i, known := spec.find(key, scope, next)
		if known {
			refused = d.get(v, key, spec.fields[i].at(e))
			seen |= 1 << i
			next = i + 1
			continue
		}
		if unknown++; unknown > MaxUnknown {
			refused = refuse(CauseOutOfRange, "", "the record has more than %d attributes that are not known to this receiver", MaxUnknown)
			continue
		}
		if unknown == 1 && shared != nil {
			e.Env().Attributes = maps.Clone(shared)
		}
		refused = d.keep(e.Env(), key, v)
	}
	return seen, refused, c.err
}

// find returns the position of the field that an attribute is. Senders write
// attributes in the order of the fields: looking at the next few first saves the
// index.
func (s *kindSpec) find(key []byte, scope Scope, next int) (i int, known bool) {
	const few = 4
	fields := s.fields
	for i = next; i < min(next+few, len(fields)); i++ {
		if fields[i].Scope == scope && fields[i].Attribute == string(key) {
			return i, true
		}
	}
	i, known = s.index[scope][string(key)]
	return i, known
}

// value is an AnyValue.
type value struct {
	kind    pcommon.ValueType
	content []byte // of a string, a map, an array or bytes
	bits    uint64 // of a number or a bool
	message []byte // the whole of it
}

func keyValue(message []byte) (key []byte, v value, err error) {
	c := cursor{rest: message}
	for c.next() {
		switch {
		case c.is(keyValueKey, protowire.BytesType):
			key = c.content
		case c.is(keyValueValue, protowire.BytesType):
			if v, err = anyValue(c.content); err != nil {
				return nil, v, err
			}
		}
	}
	return key, v, c.err
}

func anyValue(message []byte) (value, error) {
	v := value{message: message}
	c := cursor{rest: message}
	for c.next() {
		kind, wire := pcommon.ValueTypeEmpty, protowire.BytesType
		switch c.number {
		case anyString:
			kind = pcommon.ValueTypeStr
		case anyBool:
			kind, wire = pcommon.ValueTypeBool, protowire.VarintType
		case anyInt:
			kind, wire = pcommon.ValueTypeInt, protowire.VarintType
		case anyDouble:
			kind, wire = pcommon.ValueTypeDouble, protowire.Fixed64Type
		case anyArray:
			kind = pcommon.ValueTypeSlice
		case anyMap:
			kind = pcommon.ValueTypeMap
		case anyBytes:
			kind = pcommon.ValueTypeBytes
		default:
			continue
		}
		if c.is(c.number, wire) {
			v.kind, v.content, v.bits = kind, c.content, c.bits
		}
	}
	return v, c.err
}

// entries gives the entries of a map.
func (v value) entries(take func(key []byte, v value) *RecordError) *RecordError {
	c := cursor{rest: v.content}
	for c.next() {
		if c.is(mapEntries, protowire.BytesType) {
			key, entry, err := keyValue(c.content)
			if err != nil {
				c.err = err
				break
			}
			if refused := take(key, entry); refused != nil {
				return refused
			}
		}
	}
	if c.err != nil {
		return refuse(CauseWrongType, "", "is a map whose bytes are malformed: %v", c.err)
	}
	return nil
}

// list reads the entries of a list, each with one; one without entries is nil.
func list[T any](v value, key []byte, want string, one func(value) (T, *RecordError)) (entries []T, refused *RecordError) {
	if v.kind != pcommon.ValueTypeSlice {
		return nil, wrongType(v, key, want)
	}
	c := cursor{rest: v.content}
	for c.next() {
		if !c.is(arrayValues, protowire.BytesType) {
			continue
		}
		if len(entries) == MaxList {
			return nil, refuse(CauseOutOfRange, string(key), "has more than %d entries", MaxList)
		}
		var entry T
		v, err := anyValue(c.content)
		if err == nil {
			entry, refused = one(v)
		}
		if c.err = err; refused != nil {
			return nil, refused
		}
		entries = append(entries, entry)
	}
	if c.err != nil {
		return nil, refuse(CauseWrongType, string(key), "is a list whose bytes are malformed: %v", c.err)
	}
	return entries, nil
}

// text is a value of any kind as text, in the words of pdata.
func (d *Decoder) valueText(v value) string {
	if v.kind == pcommon.ValueTypeStr {
		return d.text(v.content)
	}
	record := appendMessage(nil, recordAttributes, appendMessage(nil, keyValueValue, v.message))
	logs, err := (&Record{record: record}).Logs()
	if err != nil {
		return "" // an AnyValue that is malformed further inside
	}
	only, _ := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get("")
	return valid(only.AsString())
}

// Texts up to this length are remembered, and as many of them.
const (
	longestRemembered = 256
	mostRemembered    = 1 << 14
)

// text returns bytes as UTF-8.
func (d *Decoder) text(b []byte) string {
	if len(b) > longestRemembered {
		return valid(string(b))
	}
	if s, known := d.texts[string(b)]; known {
		return s
	}
	if len(d.texts) >= mostRemembered {
		clear(d.texts)
	}
	s := string(b)
	d.texts[s] = valid(s)
	return d.texts[s]
}

// fixed are resource attributes whose value is the same for every sensor, so
// that keeping them as unknown would be noise.
var fixed = map[string]bool{string(semconv.ServiceNameKey): true, string(semconv.OSTypeKey): true}

func (d *Decoder) keep(env *Envelope, key []byte, v value) *RecordError {
	if fixed[string(key)] {
		return nil
	}
	if len(key) > MaxText || len(v.content) > MaxText {
		return refuse(CauseOutOfRange, d.text(key[:min(len(key), longest)]), "is %d bytes long, at most %d are kept", len(key)+len(v.content), MaxText)
	}
	if env.Attributes == nil {
		env.Attributes = map[string]string{}
	}
	env.Attributes[d.text(key)] = d.valueText(v)
	return nil
}

// get stores a value where to points to.
func (d *Decoder) get(v value, key []byte, to any) *RecordError {
	switch to := to.(type) {
	case *string:
		if v.kind != pcommon.ValueTypeStr {
			return wrongType(v, key, "a string")
		}
		if len(v.content) > MaxText {
			return refuse(CauseOutOfRange, string(key), "is %d bytes long, at most %d are allowed", len(v.content), MaxText)
		}
		*to = d.text(v.content)
	case *bool:
		if v.kind != pcommon.ValueTypeBool {
			return wrongType(v, key, "a bool")
		}
		*to = v.bits != 0
	case *Optional[bool]:
		to.Known = true
		return d.get(v, key, &to.Value)
	case *uint16:
		n, refused := integer(v, key, math.MaxUint16)
		*to = uint16(n)
		return refused
	case *uint64:
		n, refused := integer(v, key, math.MaxInt64)
		*to = n
		return refused
	case *Optional[uint32]:
		n, refused := integer(v, key, math.MaxUint32)
		*to = Some(uint32(n))
		return refused
	case *Optional[uint64]:
		n, refused := integer(v, key, math.MaxInt64)
		*to = Some(n)
		return refused
	case *time.Duration:
		s, refused := seconds(v, key)
		*to = s
		return refused
	case *Optional[time.Duration]:
		s, refused := seconds(v, key)
		*to = Some(s)
		return refused
	case *netip.Addr:
		if v.kind != pcommon.ValueTypeStr {
			return wrongType(v, key, "an IP address as a string")
		}
		address, err := netip.ParseAddr(d.text(v.content))
		if err != nil {
			return refuse(CauseOutOfRange, string(key), "%.*q is not an IP address", longest, v.content)
		}
		*to = address.Unmap().WithZone("")
	case *uuid.UUID:
		if v.kind != pcommon.ValueTypeStr {
			return wrongType(v, key, "a UUID as a string")
		}
		id, err := uuid.ParseBytes(v.content)
		if err != nil {
			return refuse(CauseOutOfRange, string(key), "%.*q is not a UUID", longest, v.content)
		}
		*to = id
	case *[]string:
		list, refused := list(v, key, "a list of strings", func(entry value) (text string, refused *RecordError) {
			return text, d.get(entry, key, &text)
		})
		*to = list
		return refused
	case *[]uint32:
		list, refused := list(v, key, "a list of integers", func(entry value) (uint32, *RecordError) {
			n, refused := integer(entry, key, math.MaxUint32)
			return uint32(n), refused
		})
		*to = list
		return refused
	case *map[string]uint64:
		if v.kind != pcommon.ValueTypeMap {
			return wrongType(v, key, "a map of counts")
		}
		*to = map[string]uint64{}
		return v.entries(func(name []byte, entry value) *RecordError {
			n, refused := integer(entry, fmt.Appendf(nil, "%s.%s", key, name), math.MaxInt64)
			(*to)[d.text(name)] = n
			return refused
		})
	case *map[string]string:
		if v.kind != pcommon.ValueTypeMap {
			return wrongType(v, key, "a map of strings")
		}
		*to = map[string]string{}
		return v.entries(func(name []byte, entry value) *RecordError {
			(*to)[d.text(name)] = d.valueText(entry)
			return nil
		})
	}
	return nil
}

func integer(v value, key []byte, highest int64) (uint64, *RecordError) {
	if v.kind != pcommon.ValueTypeInt {
		return 0, wrongType(v, key, "an integer")
	}
	n := int64(v.bits)
	if n < 0 || n > highest {
		return 0, refuse(CauseOutOfRange, valid(string(key)), "%d is out of range: 0 to %d", n, highest)
	}
	return uint64(n), nil
}

// LongestDuration is 100 years: more than any host has been up. A longer one is
// refused.
const LongestDuration = 100 * 365 * 24 * time.Hour

// seconds reads a duration, kept to the microsecond.
func seconds(v value, key []byte) (time.Duration, *RecordError) {
	var s float64
	switch v.kind {
	case pcommon.ValueTypeDouble:
		s = math.Float64frombits(v.bits)
	case pcommon.ValueTypeInt: // an encoder may write a whole number so
		s = float64(int64(v.bits))
	default:
		return 0, wrongType(v, key, "a number of seconds")
	}
	if !(s >= 0 && s <= LongestDuration.Seconds()) {
		return 0, refuse(CauseOutOfRange, string(key), "%g seconds is out of range: 0 to %g", s, LongestDuration.Seconds())
	}
	return time.Duration(math.Round(s*1e6)) * time.Microsecond, nil
}

func wrongType(v value, key []byte, want string) *RecordError {
	return refuse(CauseWrongType, valid(string(key)), "is of type %s, must be %s", v.kind, want)
}

// valid returns s in UTF-8.
func valid(s string) string {
	return strings.ToValidUTF8(s, "\uFFFD")
}
