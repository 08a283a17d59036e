package event_test

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testevent"
)

// decode sends logs with one record through the wire form.
func decode(t testing.TB, logs plog.Logs) event.Record {
	t.Helper()
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	var records []event.Record
	if err := event.NewDecoder().Decode(body, func(r event.Record) { records = append(records, r) }); err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	return records[0]
}

// accepted is decode for a record that must not be refused.
func accepted(t testing.TB, logs plog.Logs) event.Event {
	t.Helper()
	r := decode(t, logs)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Event
}

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
				got := accepted(t, event.Encode([]event.Event{want}))
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			})
		}
	}
}

func TestUnknownAttributesAreKept(t *testing.T) {
	logs := event.Encode([]event.Event{testevent.Filled(t, event.KindListener)})
	resource, record := only(t, logs)
	record.Attributes().PutInt("netview.invented.later", 7)
	record.Attributes().PutStr("odd", "a\xffb")
	record.Attributes().PutDouble("half", 0.5)
	record.Attributes().PutEmptySlice("list").AppendEmpty().SetStr("x")
	record.Attributes().PutEmptyMap("map").PutBool("b", true)
	resource.PutStr("k8s.node.name", "n1")
	want := map[string]string{"netview.invented.later": "7", "odd": "a\uFFFDb", "k8s.node.name": "n1", "half": "0.5", "list": `["x"]`, "map": `{"b":true}`}
	if got := accepted(t, logs).Env().Attributes; !reflect.DeepEqual(got, want) {
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
			logs := event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)})
			tt.change(only(t, logs))
			refused := decode(t, logs).Err
			if refused == nil {
				t.Fatal("it is accepted")
			}
			if refused.Cause != tt.cause || refused.Attribute != tt.attribute || !strings.Contains(refused.Error(), tt.quotes) {
				t.Errorf("got {%s %s} %q, want {%s %s} naming %s", refused.Cause, refused.Attribute, refused, tt.cause, tt.attribute, tt.quotes)
			}
		})
	}
}

func TestListsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		attribute string
		put       func(pcommon.Map)
		cause     event.Cause
	}{
		"no list":        {event.AttrDNSServers, func(m pcommon.Map) { m.PutStr(event.AttrDNSServers, "192.0.2.1") }, event.CauseWrongType},
		"a number":       {event.AttrDNSServers, func(m pcommon.Map) { m.PutEmptySlice(event.AttrDNSServers).AppendEmpty().SetInt(1) }, event.CauseWrongType},
		"a text":         {event.AttrDNSAnswerTTLs, func(m pcommon.Map) { m.PutEmptySlice(event.AttrDNSAnswerTTLs).AppendEmpty().SetStr("1") }, event.CauseWrongType},
		"an empty value": {event.AttrDNSAnswerTTLs, func(m pcommon.Map) { m.PutEmptySlice(event.AttrDNSAnswerTTLs).AppendEmpty() }, event.CauseWrongType},
		"negative":       {event.AttrDNSAnswerTTLs, func(m pcommon.Map) { m.PutEmptySlice(event.AttrDNSAnswerTTLs).AppendEmpty().SetInt(-1) }, event.CauseOutOfRange},
		"a text of 1 MB": {event.AttrDNSServers, func(m pcommon.Map) {
			m.PutEmptySlice(event.AttrDNSServers).AppendEmpty().SetStr(strings.Repeat("x", 1<<20))
		}, event.CauseOutOfRange},
		"1 entry too many": {event.AttrDNSServers, func(m pcommon.Map) {
			list := m.PutEmptySlice(event.AttrDNSServers)
			for range event.MaxList + 1 {
				list.AppendEmpty().SetStr("x")
			}
		}, event.CauseOutOfRange},
	} {
		logs := event.Encode([]event.Event{testevent.Filled(t, event.KindDNSQuery)})
		_, record := only(t, logs)
		test.put(record.Attributes())
		if r := decode(t, logs); r.Err == nil || r.Err.Cause != test.cause || r.Err.Attribute != test.attribute || len(r.Err.Error()) > 1000 {
			t.Errorf("%s: %.300v", name, r.Err)
		}
	}
	logs := event.Encode([]event.Event{testevent.Filled(t, event.KindDNSQuery)})
	_, record := only(t, logs)
	record.Attributes().PutEmptySlice(event.AttrDNSServers)
	if got := accepted(t, logs).(*event.DNSQuery).Servers; got != nil {
		t.Errorf("an empty list is %q, want nil as for an absent one", got)
	}
}

// TestEncoderAllocates: nothing for an event, once it has met its largest request.
func TestEncoderAllocates(t *testing.T) {
	for _, kind := range event.Kinds() {
		events := make([]event.Event, 1000)
		for i := range events {
			events[i] = testevent.Filled(t, kind)
		}
		var encoder event.Encoder
		body := encoder.Append(nil, events)
		if n := testing.AllocsPerRun(5, func() { body = encoder.Append(body[:0], events) }); n > 10 {
			t.Errorf("%s: %.0f allocations for %d events", kind, n, len(events))
		}
	}
}

func TestMappedAddressIsIPv4(t *testing.T) {
	logs := event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)})
	_, record := only(t, logs)
	record.Attributes().PutStr("network.peer.address", "::ffff:192.0.2.1")
	if got := accepted(t, logs).(*event.Connection).RemoteAddress; got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("remote address %v, want 192.0.2.1", got)
	}
}

// TestManyRecordsOfManyResources: each record gets its own resource, wherever
// the encoder wrote it, and none the unknown attributes of another.
func TestManyRecordsOfManyResources(t *testing.T) {
	logs := plog.NewLogs()
	for _, id := range []string{"a", "b"} {
		var events []event.Event
		for n := range 3 {
			e := testevent.Filled(t, event.KindListener)
			e.Env().SensorID, e.Env().Sequence = id, uint64(n+1)
			e.Env().Attributes = map[string]string{"own": fmt.Sprint(id, n)}
			events = append(events, e)
		}
		one := event.Encode(events)
		one.ResourceLogs().At(0).Resource().Attributes().PutStr("shared", id)
		one.ResourceLogs().MoveAndAppendTo(logs.ResourceLogs())
	}
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = event.NewDecoder().Decode(body, func(r event.Record) {
		env := r.Event.Env()
		got = append(got, fmt.Sprint(env.SensorID, env.Sequence, env.Attributes))
		alone, err := r.Logs()
		if err != nil || !reflect.DeepEqual(accepted(t, alone), r.Event) {
			t.Errorf("alone the record is %v (%v)", alone, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a1 map[own:a0 shared:a]", "a2 map[own:a1 shared:a]", "a3 map[own:a2 shared:a]", "b1 map[own:b0 shared:b]", "b2 map[own:b1 shared:b]", "b3 map[own:b2 shared:b]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestRecycledEventsAreEmpty: an event that is used again has nothing of before.
func TestRecycledEventsAreEmpty(t *testing.T) {
	d := event.NewDecoder()
	for _, kind := range event.Kinds() {
		for _, want := range []event.Event{testevent.Filled(t, kind), testevent.WithNulls(t, kind)} {
			body, err := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{want, want}))
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Decode(body, func(r event.Record) {
				if !reflect.DeepEqual(r.Event, want) {
					t.Errorf("got  %+v\nwant %+v", r.Event, want)
				}
			}); err != nil {
				t.Fatal(err)
			}
			d.Recycle()
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)}))
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for n := range body {
		// Most cuts break a length; a few fall between two fields.
		if err := event.NewDecoder().Decode(body[:n], func(event.Record) {}); err == nil {
			whole++
		}
	}
	if whole > 1 {
		t.Errorf("%d of %d truncations pass for whole requests, want only the empty one", whole, len(body))
	}
	for name, bad := range map[string][]byte{"text": []byte("hello, world"), "wrong wire type": {0x08, 0x01}, "unknown group": {0x0b}} {
		if err := event.NewDecoder().Decode(bad, func(event.Record) {}); err == nil {
			t.Errorf("%s passes for a request", name)
		}
	}
	if err := event.NewDecoder().Decode([]byte{0xf8, 0x07, 0x01}, func(event.Record) { t.Error("a record") }); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

// TestTooManyRecords: a request of empty records is refused before all are looked at.
func TestTooManyRecords(t *testing.T) {
	for records, bad := range map[int]bool{event.MaxRecords: false, event.MaxRecords + 1: true} {
		logs := plog.NewLogs()
		list := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		for range records {
			list.AppendEmpty()
		}
		body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = event.NewDecoder().Decode(body, func(event.Record) { n++ })
		if (err != nil) != bad || n != event.MaxRecords {
			t.Errorf("of %d records %d are decoded: %v", records, n, err)
		}
	}
}

// FuzzDecode feeds arbitrary bodies to the decoder: any answer is right but a
// panic. What it accepts survives a round trip, and it finds as many records as
// pdata does.
func FuzzDecode(f *testing.F) {
	for _, kind := range event.Kinds() {
		body, _ := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{testevent.Filled(f, kind)}))
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var records []event.Record
		if err := event.NewDecoder().Decode(body, func(r event.Record) { records = append(records, r) }); err != nil {
			return
		}
		if logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body); err == nil && logs.LogRecordCount() != len(records) {
			t.Fatalf("%d records, pdata finds %d", len(records), logs.LogRecordCount())
		}
		for _, r := range records {
			if (r.Event == nil) == (r.Err == nil) {
				t.Fatalf("event %v, error %v", r.Event, r.Err)
			}
			if r.Event == nil {
				continue
			}
			if again := accepted(t, event.Encode([]event.Event{r.Event})); !reflect.DeepEqual(r.Event, again) {
				t.Fatalf("changed on the way:\n%+v\n%+v", r.Event, again)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	events := make([]event.Event, 1000)
	for i := range events {
		events[i] = testevent.Filled(b, event.KindConnection)
	}
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode(events))
	if err != nil {
		b.Fatal(err)
	}
	perRecord := func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
	}
	b.Run("netview", func(b *testing.B) {
		d := event.NewDecoder()
		for b.Loop() {
			if err := d.Decode(body, func(event.Record) {}); err != nil {
				b.Fatal(err)
			}
			d.Recycle()
		}
		perRecord(b)
	})
	// The floor of everything that takes its logs from pdata.
	b.Run("pdata", func(b *testing.B) {
		for b.Loop() {
			if _, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body); err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
}

func BenchmarkEncode(b *testing.B) {
	e := testevent.Filled(b, event.KindConnection)
	b.ReportAllocs()
	for b.Loop() {
		event.Encode([]event.Event{e})
	}
}

// TestHostileAttributes: text that is not UTF-8 is kept with the replacement
// character, and what is too large or too much costs its record alone.
func TestHostileAttributes(t *testing.T) {
	const broken, mended = "/bin/\xff\xfe\x80x", "/bin/\uFFFDx"
	logs := event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)})
	resource, record := only(t, logs)
	record.Attributes().PutStr("process.executable.path", broken)
	record.Attributes().PutStr("later\xff", broken)
	resource.PutStr("host.name", broken)
	c := accepted(t, logs).(*event.Connection)
	if c.Process.Binary != mended || c.HostName != mended || c.Attributes["later\uFFFD"] != mended {
		t.Errorf("path %q, host %q, attributes %q", c.Process.Binary, c.HostName, c.Attributes)
	}
	for name, change := range map[string]func(pcommon.Map){
		"a million attributes": func(m pcommon.Map) {
			raw := m.AsRaw() // Put looks through all that is there
			for i := range 1_000_000 {
				raw[fmt.Sprint("a", i)] = 1
			}
			if err := m.FromRaw(raw); err != nil {
				t.Fatal(err)
			}
		},
		"1 MB":        func(m pcommon.Map) { m.PutStr("process.executable.path", strings.Repeat("x", 1<<20)) },
		"1 MB of key": func(m pcommon.Map) { m.PutStr(strings.Repeat("x", 1<<20), "") },
	} {
		logs := event.Encode([]event.Event{testevent.Filled(t, event.KindConnection)})
		_, record := only(t, logs)
		change(record.Attributes())
		if r := decode(t, logs); r.Err == nil || r.Err.Cause != event.CauseOutOfRange || len(r.Err.Error()) > 1000 {
			t.Errorf("%s: %.300v", name, r.Err)
		}
	}
}
