package event_test

import (
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testevent"
)

func only(t testing.TB, logs plog.Logs) (pcommon.Map, plog.LogRecord) {
	if logs.LogRecordCount() != 1 {
		t.Fatalf("%d records, want 1", logs.LogRecordCount())
	}
	rl := logs.ResourceLogs().At(0)
	return rl.Resource().Attributes(), rl.ScopeLogs().At(0).LogRecords().At(0)
}

func TestRoundTrip(t *testing.T) {
	for _, kind := range event.Kinds() {
		for name, want := range map[string]event.Event{"filled": testevent.Filled(t, kind), "with nulls": testevent.WithNulls(t, kind)} {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				// Through the wire form, as a collector gets it.
				body, err := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{want}))
				if err != nil {
					t.Fatal(err)
				}
				logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
				if err != nil {
					t.Fatal(err)
				}
				resource, record := only(t, logs)
				got, err := event.Decode(resource, record)
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

func TestUnknownAttributesAreKept(t *testing.T) {
	resource, record := only(t, event.Encode([]event.Event{testevent.Filled(t, event.KindListener)}))
	record.Attributes().PutInt("netview.invented.later", 7)
	record.Attributes().PutStr("odd", "a\xffb")
	resource.PutStr("k8s.node.name", "n1")
	e, err := event.Decode(resource, record)
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
		cause     event.Cause
		attribute string
		quotes    string
	}{
		{"foreign", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("app.started") }, event.CauseForeign, "", "app.started"},
		{"unnamed", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("") }, event.CauseForeign, "", `""`},
		{"unknown kind", func(_ pcommon.Map, r plog.LogRecord) { r.SetEventName("netview.teapot") }, event.CauseUnknownKind, "", "teapot"},
		{"port 70000", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("network.local.port", 70000) }, event.CauseOutOfRange, "network.local.port", "70000"},
		{"negative port", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("network.local.port", -1) }, event.CauseOutOfRange, "network.local.port", "-1"},
		{"port as text", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr("network.local.port", "80") }, event.CauseWrongType, "network.local.port", "Str"},
		{"no address", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().Remove("network.local.address") }, event.CauseMissing, "network.local.address", "missing"},
		{"bad address", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutStr("network.local.address", "10.0.0.256") }, event.CauseOutOfRange, "network.local.address", "10.0.0.256"},
		{"pid too large", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt("process.pid", 1<<32) }, event.CauseOutOfRange, "process.pid", "4294967296"},
		{"duration NaN", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutDouble(event.AttrDuration, math.NaN()) }, event.CauseOutOfRange, event.AttrDuration, "NaN"},
		{"duration negative", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutDouble(event.AttrDuration, -1) }, event.CauseOutOfRange, event.AttrDuration, "-1"},
		{"no heartbeat number", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().Remove(event.AttrHeartbeat) }, event.CauseMissing, event.AttrHeartbeat, "missing"},
		{"no sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.Remove(event.AttrSensorID) }, event.CauseMissing, event.AttrSensorID, "missing"},
		{"bad sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr(event.AttrSensorID, "Host 1") }, event.CauseOutOfRange, event.AttrSensorID, "Host 1"},
		{"long sensor_id", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr(event.AttrSensorID, strings.Repeat("a", 65)) }, event.CauseOutOfRange, event.AttrSensorID, "64"},
		{"no session", func(m pcommon.Map, _ plog.LogRecord) { m.Remove("service.instance.id") }, event.CauseMissing, "service.instance.id", "missing"},
		{"session no uuid", func(m pcommon.Map, _ plog.LogRecord) { m.PutStr("service.instance.id", "1") }, event.CauseOutOfRange, "service.instance.id", "UUID"},
		{"sequence 0", func(_ pcommon.Map, r plog.LogRecord) { r.Attributes().PutInt(event.AttrSequence, 0) }, event.CauseOutOfRange, event.AttrSequence, "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resource, record := only(t, event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)}))
			tt.change(resource, record)
			_, err := event.Decode(resource, record)
			var refused *event.RecordError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want a *event.RecordError", err)
			}
			if refused.Cause != tt.cause || refused.Attribute != tt.attribute || !strings.Contains(err.Error(), tt.quotes) {
				t.Errorf("got {%s %s} %q, want {%s %s} naming %s", refused.Cause, refused.Attribute, err, tt.cause, tt.attribute, tt.quotes)
			}
		})
	}
}

func TestMappedAddressIsIPv4(t *testing.T) {
	resource, record := only(t, event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)}))
	record.Attributes().PutStr("network.peer.address", "::ffff:192.0.2.1")
	e, err := event.Decode(resource, record)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.(*event.Connection).RemoteAddress; got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("remote address %v, want 192.0.2.1", got)
	}
}

// FuzzDecode feeds arbitrary OTLP bodies to the decoder: any answer is right
// but a panic, and what it accepts must survive a round trip.
func FuzzDecode(f *testing.F) {
	for _, kind := range event.Kinds() {
		body, _ := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{testevent.Filled(f, kind)}))
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
					e, err := event.Decode(rl.Resource().Attributes(), record)
					if err != nil {
						continue
					}
					resource, again := only(t, event.Encode([]event.Event{e}))
					second, err := event.Decode(resource, again)
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
	resource, record := only(b, event.Encode([]event.Event{testevent.Filled(b, event.KindConnection)}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Decode(resource, record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	e := testevent.Filled(b, event.KindConnection)
	b.ReportAllocs()
	for b.Loop() {
		event.Encode([]event.Event{e})
	}
}
