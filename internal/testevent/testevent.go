// Package testevent makes records for tests.
package testevent

import (
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// Filled returns a record of the kind in which every field has a value of its
// own, set through the field table, so that a field added later is tested too.
func Filled(t testing.TB, kind event.Kind) event.Event {
	e := event.New(kind)
	for i, f := range event.Fields(kind) {
		n := uint64(i + 1)
		switch v := f.Value(e).(type) {
		case *string:
			*v = f.Column + "-value"
		case *bool:
			*v = true
		case *uint16:
			*v = uint16(n)
		case *uint64:
			*v = n
		case *event.Optional[bool]:
			*v = event.Some(true)
		case *event.Optional[uint32]:
			*v = event.Some(uint32(n))
		case *event.Optional[uint64]:
			*v = event.Some(n)
		case *time.Duration:
			*v = time.Duration(n) * 1001 * time.Millisecond
		case *event.Optional[time.Duration]:
			*v = event.Some(time.Duration(n) * 1001 * time.Millisecond)
		case *netip.Addr:
			*v = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		case *uuid.UUID:
			*v = uuid.MustParse("0190163d-8694-739b-aea5-966c26f8ad91")
		case *time.Time:
			// Recent, or retention would drop the row.
			*v = time.Now().UTC().Truncate(time.Microsecond)
		case *[]string:
			*v = []string{f.Column, "it's", ""}
		case *[]uint32:
			*v = []uint32{uint32(n), 0, math.MaxUint32}
		case *map[string]uint64:
			*v = map[string]uint64{"a": n, "b": 0}
		case *map[string]string:
			*v = map[string]string{"tcp": "on", "udp": "off: no right"}
		default:
			t.Fatalf("%s.%s has type %T, which this package does not fill", kind, f.Column, v)
		}
	}
	e.Env().SensorID = "host-1"
	return e
}

// WithNulls is [Filled] without what may be null.
func WithNulls(t testing.TB, kind event.Kind) event.Event {
	e := Filled(t, kind)
	for _, f := range event.Fields(kind) {
		if f.Null != "" {
			reflect.ValueOf(f.Value(e)).Elem().SetZero()
		}
	}
	return e
}
