package event

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
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

func refuse(cause Cause, attribute, format string, args ...any) *RecordError {
	return &RecordError{Cause: cause, Attribute: attribute, Detail: fmt.Sprintf(format, args...)}
}

// Decode returns the event that a log record of the given resource carries, or
// a *[RecordError]. Attributes it does not know are kept as text in the
// envelope. Strings that are not UTF-8 are stored with the replacement
// character in place of what is not.
func Decode(resource pcommon.Map, record plog.LogRecord) (Event, error) {
	kind, ours := KindOf(record.EventName())
	if !ours {
		return nil, refuse(CauseForeign, "", "event name %.*q is not one of netview's: they begin with %q", longest, record.EventName(), namePrefix)
	}
	spec := kinds[kind]
	if spec == nil {
		return nil, refuse(CauseUnknownKind, "", "kind %.*q is not known to this receiver: known are %v", longest, kind, Kinds())
	}
	e := spec.make()
	seen, err := decodeMap(resource, spec.resource, spec.fields, e)
	if err != nil {
		return nil, err
	}
	more, err := decodeMap(record.Attributes(), spec.record, spec.fields, e)
	if err != nil {
		return nil, err
	}
	e.Env().Timestamp = record.Timestamp().AsTime()
	if missing := spec.required &^ (seen | more); missing != 0 {
		return nil, refuse(CauseMissing, spec.fields[bits.TrailingZeros64(missing)].Attribute, "is missing")
	}
	if err := CheckSensorID(e.Env().SensorID); err != nil {
		return nil, refuse(CauseOutOfRange, AttrSensorID, "%v", err)
	}
	if e.Env().Sequence == 0 {
		return nil, refuse(CauseOutOfRange, AttrSequence, "0 is out of range: it counts from 1")
	}
	return e, nil
}

// decodeMap stores the attributes that index knows and keeps the others. It
// returns the set of the fields it met, by position.
func decodeMap(m pcommon.Map, index map[string]int, fields []Field, e Event) (seen uint64, err error) {
	for name, value := range m.All() {
		i, known := index[name]
		if !known {
			keep(e.Env(), name, value)
			continue
		}
		if err := get(value, name, fields[i].at(e)); err != nil {
			return 0, err
		}
		seen |= 1 << i
	}
	return seen, nil
}

// fixed are resource attributes whose value is the same for every sensor, so
// that keeping them as unknown would be noise.
var fixed = map[string]bool{string(semconv.ServiceNameKey): true, string(semconv.OSTypeKey): true}

func keep(env *Envelope, name string, value pcommon.Value) {
	if fixed[name] {
		return
	}
	if env.Attributes == nil {
		env.Attributes = map[string]string{}
	}
	env.Attributes[valid(name)] = valid(value.AsString())
}

// get stores value where v points to.
func get(value pcommon.Value, name string, v any) error {
	switch v := v.(type) {
	case *string:
		if value.Type() != pcommon.ValueTypeStr {
			return wrongType(value, name, "a string")
		}
		*v = valid(value.Str())
	case *bool:
		if value.Type() != pcommon.ValueTypeBool {
			return wrongType(value, name, "a bool")
		}
		*v = value.Bool()
	case *uint16:
		n, err := integer(value, name, math.MaxUint16)
		*v = uint16(n)
		return err
	case *uint64:
		n, err := integer(value, name, math.MaxInt64)
		*v = n
		return err
	case *Optional[uint32]:
		n, err := integer(value, name, math.MaxUint32)
		*v = Some(uint32(n))
		return err
	case *time.Duration:
		d, err := seconds(value, name)
		*v = d
		return err
	case *Optional[time.Duration]:
		d, err := seconds(value, name)
		*v = Some(d)
		return err
	case *netip.Addr:
		if value.Type() != pcommon.ValueTypeStr {
			return wrongType(value, name, "an IP address as a string")
		}
		address, err := netip.ParseAddr(value.Str())
		if err != nil {
			return refuse(CauseOutOfRange, name, "%.*q is not an IP address", longest, value.Str())
		}
		*v = address.Unmap().WithZone("")
	case *uuid.UUID:
		if value.Type() != pcommon.ValueTypeStr {
			return wrongType(value, name, "a UUID as a string")
		}
		id, err := uuid.Parse(value.Str())
		if err != nil {
			return refuse(CauseOutOfRange, name, "%.*q is not a UUID", longest, value.Str())
		}
		*v = id
	case *map[string]uint64:
		if value.Type() != pcommon.ValueTypeMap {
			return wrongType(value, name, "a map of counts")
		}
		*v = make(map[string]uint64, value.Map().Len())
		for key, count := range value.Map().All() {
			n, err := integer(count, name+"."+valid(key), math.MaxInt64)
			if err != nil {
				return err
			}
			(*v)[valid(key)] = n
		}
	case *map[string]string:
		if value.Type() != pcommon.ValueTypeMap {
			return wrongType(value, name, "a map of strings")
		}
		*v = make(map[string]string, value.Map().Len())
		for key, text := range value.Map().All() {
			(*v)[valid(key)] = valid(text.AsString())
		}
	}
	return nil
}

func integer(value pcommon.Value, name string, highest int64) (uint64, error) {
	if value.Type() != pcommon.ValueTypeInt {
		return 0, wrongType(value, name, "an integer")
	}
	if n := value.Int(); n < 0 || n > highest {
		return 0, refuse(CauseOutOfRange, name, "%d is out of range: 0 to %d", n, highest)
	}
	return uint64(value.Int()), nil
}

// longestDuration is 100 years: more than any host has been up.
const longestDuration = 100 * 365 * 24 * time.Hour

// seconds reads a duration, kept to the millisecond.
func seconds(value pcommon.Value, name string) (time.Duration, error) {
	var s float64
	switch value.Type() {
	case pcommon.ValueTypeDouble:
		s = value.Double()
	case pcommon.ValueTypeInt: // an encoder may write a whole number so
		s = float64(value.Int())
	default:
		return 0, wrongType(value, name, "a number of seconds")
	}
	if !(s >= 0 && s <= longestDuration.Seconds()) {
		return 0, refuse(CauseOutOfRange, name, "%g seconds is out of range: 0 to %g", s, longestDuration.Seconds())
	}
	return time.Duration(math.Round(s*1000)) * time.Millisecond, nil
}

func wrongType(value pcommon.Value, name, want string) *RecordError {
	return refuse(CauseWrongType, name, "is of type %s, must be %s", value.Type(), want)
}

// valid returns s in UTF-8.
func valid(s string) string {
	return strings.ToValidUTF8(s, "\uFFFD")
}
