package event

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// filled returns a record of the kind in which every field has a value of its
// own, set through the field table, so that a field added later is tested too.
func filled(t testing.TB, kind Kind) Event {
	e := New(kind)
	for i, f := range Fields(kind) {
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
		case *Optional[uint32]:
			*v = Some(uint32(n))
		case *time.Duration:
			*v = time.Duration(n) * 1001 * time.Millisecond
		case *Optional[time.Duration]:
			*v = Some(time.Duration(n) * 1001 * time.Millisecond)
		case *netip.Addr:
			*v = netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		case *uuid.UUID:
			*v = uuid.MustParse("0190163d-8694-739b-aea5-966c26f8ad91")
		case *time.Time:
			*v = time.Date(2026, 3, 4, 5, 6, 7, 891000, time.UTC)
		case *map[string]uint64:
			*v = map[string]uint64{"a": n, "b": 0}
		case *map[string]string:
			*v = map[string]string{"tcp": "on", "udp": "off: no right"}
		default:
			t.Fatalf("%s.%s has type %T, which the codec does not handle", kind, f.Column, v)
		}
	}
	e.Env().SensorID = "host-1"
	return e
}

func only(t testing.TB, logs plog.Logs) (pcommon.Map, plog.LogRecord) {
	if logs.LogRecordCount() != 1 {
		t.Fatalf("%d records, want 1", logs.LogRecordCount())
	}
	rl := logs.ResourceLogs().At(0)
	return rl.Resource().Attributes(), rl.ScopeLogs().At(0).LogRecords().At(0)
}

func TestRoundTrip(t *testing.T) {
	for _, kind := range Kinds() {
		for name, want := range map[string]Event{"filled": filled(t, kind), "with nulls": withNulls(t, kind)} {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				// Through the wire form, as a collector gets it.
				body, err := (&plog.ProtoMarshaler{}).MarshalLogs(Encode([]Event{want}))
				if err != nil {
					t.Fatal(err)
				}
				logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
				if err != nil {
					t.Fatal(err)
				}
				resource, record := only(t, logs)
				got, err := Decode(resource, record)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			})
		}
	}
}

// withNulls clears every field that may be null.
func withNulls(t testing.TB, kind Kind) Event {
	e := filled(t, kind)
	for _, f := range Fields(kind) {
		if f.Null != "" {
			reflect.ValueOf(f.Value(e)).Elem().SetZero()
		}
	}
	return e
}

func TestUnknownAttributesAreKept(t *testing.T) {
	resource, record := only(t, Encode([]Event{filled(t, KindListener)}))
	record.Attributes().PutInt("netview.invented.later", 7)
	record.Attributes().PutStr("odd", "a\xffb")
	resource.PutStr("k8s.node.name", "n1")
	e, err := Decode(resource, record)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"netview.invented.later": "7", "odd": "a\uFFFDb", "k8s.node.name": "n1"}
	if got := e.Env().Attributes; !reflect.DeepEqual(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name      string
		change    func(resource pcommon.Map, record plog.LogRecord)
		cause     Cause
		attribute string
		quotes    string
	}{
		{"foreign", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("app.started") }, CauseForeign, "", "app.started"},
		{"unnamed", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("") }, CauseForeign, "", `""`},
		{"unknown kind", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("netview.teapot") }, CauseUnknownKind, "", "teapot"},
		{"port 70000", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("network.local.port", 70000) }, CauseOutOfRange, "network.local.port", "70000"},
		{"negative port", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("network.local.port", -1) }, CauseOutOfRange, "network.local.port", "-1"},
		{"port as text", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr("network.local.port", "80") }, CauseWrongType, "network.local.port", "Str"},
		{"no address", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().Remove("network.local.address") }, CauseMissing, "network.local.address", "missing"},
		{"bad address", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr("network.local.address", "10.0.0.256") }, CauseOutOfRange, "network.local.address", "10.0.0.256"},
		{"pid too large", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("process.pid", 1<<32) }, CauseOutOfRange, "process.pid", "4294967296"},
		{"duration NaN", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutDouble(AttrDuration, math.NaN()) }, CauseOutOfRange, AttrDuration, "NaN"},
		{"duration negative", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutDouble(AttrDuration, -1) }, CauseOutOfRange, AttrDuration, "-1"},
		{"no heartbeat number", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().Remove(AttrHeartbeat) }, CauseMissing, AttrHeartbeat, "missing"},
		{"no sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.Remove(AttrSensorID) }, CauseMissing, AttrSensorID, "missing"},
		{"bad sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr(AttrSensorID, "Host 1") }, CauseOutOfRange, AttrSensorID, "Host 1"},
		{"long sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr(AttrSensorID, strings.Repeat("a", 65)) }, CauseOutOfRange, AttrSensorID, "64"},
		{"no session", func(m pcommon.Map, _ plog.LogRecord) { m.Remove("service.instance.id") }, CauseMissing, "service.instance.id", "missing"},
		{"session no uuid", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr("service.instance.id", "1") }, CauseOutOfRange, "service.instance.id", "UUID"},
		{"sequence 0", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt(AttrSequence, 0) }, CauseOutOfRange, AttrSequence, "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resource, record := only(t, Encode([]Event{filled(t, KindConnection)}))
			tt.change(resource, record)
			_, err := Decode(resource, record)
			var refused *RecordError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a *RecordError", err)
			}
			if refused.Cause != tt.cause || refused.Attribute != tt.attribute || !strings.Contains(err.Error(), tt.quotes) {
				t.Errorf("got {%s %s} %q, want {%s %s} naming %s", refused.Cause, refused.Attribute, err, tt.cause, tt.attribute, tt.quotes)
			}
		})
	}
}

func TestMappedAddressIsIPv4(t *testing.T) {
	resource, record := only(t, Encode([]Event{filled(t, KindConnection)}))
	record.Attributes().PutStr("network.peer.address", "::ffff:192.0.2.1")
	e, err := Decode(resource, record)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.(*Connection).RemoteAddress; got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("remote address %v, want 192.0.2.1", got)
	}
}

// FuzzDecode feeds arbitrary OTLP bodies to the decoder: any answer is right
// but a panic, and what it accepts must survive a round trip.
func FuzzDecode(f *testing.F) {
	for _, kind := range Kinds() {
		body, _ := (&plog.ProtoMarshaler{}).MarshalLogs(Encode([]Event{filled(f, kind)}))
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			return
		}
		for _, rl := range logs.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, record := range sl.LogRecords().All() {
					e, err := Decode(rl.Resource().Attributes(), record)
					if err != nil {
						continue
					}
					resource, again := only(t, Encode([]Event{e}))
					second, err := Decode(resource, again)
					if err != nil {
						t.Fatalf("accepted %+v, but not what it encodes to: %v", e, err)
					}
					if !reflect.DeepEqual(e, second) {
						t.Fatalf("changed on the way:\n%+v\n%+v", e, second)
					}
				}
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	resource, record := only(b, Encode([]Event{filled(b, KindConnection)}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(resource, record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := filled(b, KindConnection)
	b.ReportAllocs()
	for b.Loop() {
		Encode([]Event{e})
	}
}
