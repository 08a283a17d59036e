package sensor

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/internal/testproc"
	"github.com/netview-project/netview/sensor/deliver"
)

func TestConfigErrorsNameTheSetting(t *testing.T) {
	good := Config{Interval: 15 * time.Second, Spool: deliver.DefaultOptions(), Proc: "/proc", Endpoint: "grpc://127.0.0.1:9"}
	for name, tt := range map[string]struct {
		change func(*Config)
		quotes []string
	}{
		"good":           {func(*Config) {}, nil},
		"sensor id":      {func(c *Config) { c.SensorID = "Host 1" }, []string{"sensor_id", "Host 1", "a-z"}},
		"short interval": {func(c *Config) { c.Interval = time.Millisecond }, []string{"interval", "1ms", "1s to 5m"}},
		"long interval":  {func(c *Config) { c.Interval = time.Hour }, []string{"interval", "1h0m0s"}},
		"no spool":       {func(c *Config) { c.Spool.SnapshotsBytes = 0 }, []string{"snapshots", "0 bytes", "at least"}},
		"no age":         {func(c *Config) { c.Spool.EventsAge = 0 }, []string{"age of events", "0s", "1m0s to"}},
		"scrub rule":     {func(c *Config) { c.Scrub = "(" }, []string{"scrub rule", "missing closing )"}},
		"two at once":    {func(c *Config) { c.SensorID, c.Interval = "X", 0 }, []string{"sensor_id", "interval"}},
		"endpoint":       {func(c *Config) { c.Endpoint = "collector:4317" }, []string{"collector:4317", "grpc://HOST:4317"}},
	} {
		config := good
		tt.change(&config)
		_, err := New(config, slog.New(slog.DiscardHandler))
		if (err == nil) != (tt.quotes == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, quote := range tt.quotes {
			if err != nil && !strings.Contains(err.Error(), quote) {
				t.Errorf("%s: %q does not name %q", name, err, quote)
			}
		}
	}
}

func TestSessionIsNewAtEachStart(t *testing.T) {
	seen := map[uuid.UUID]bool{}
	for range 3 {
		s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: "/proc"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		r := s.Resource()
		if seen[r.Session] || r.SensorID != "s" || r.HostName == "" || r.KernelRelease == "" {
			t.Errorf("resource %+v", r)
		}
		seen[r.Session] = true
	}
}

// TestHeartbeatsAreSpread: each sensor beats at its own point of the interval,
// and always at the same.
func TestHeartbeatsAreSpread(t *testing.T) {
	const interval = 15 * time.Second
	quarters := map[time.Duration]int{}
	for i := range 400 {
		id := "host-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		a, b := newTicker(interval, id), newTicker(interval, id)
		if a != b || a.offset < 0 || a.offset >= interval {
			t.Fatalf("%s: %+v and %+v", id, a, b)
		}
		quarters[a.offset/(interval/4)]++
	}
	for quarter := range time.Duration(4) {
		if n := quarters[quarter]; n < 60 {
			t.Errorf("%d of 400 sensors beat in quarter %d of the interval, want about 100", n, quarter)
		}
	}
	tick := newTicker(time.Second, "s")
	for range 2 {
		if !tick.wait(context.Background()) {
			t.Fatal("it ended")
		}
		if late := (time.Duration(time.Now().UnixNano()) - tick.offset) % time.Second; late > 900*time.Millisecond {
			t.Errorf("it beats %v before its point", time.Second-late)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if newTicker(time.Hour, "s").wait(ended) {
		t.Error("it beats after its end")
	}
}

// TestRunWithoutCollector: an exporter only, with a snapshot from the first moment.
func TestRunWithoutCollector(t *testing.T) {
	h := testproc.New(t)
	h.Socket("tcp", testproc.Any4, 80, testproc.Any4, 0, testproc.Listen, 1, true)
	h.Write()
	s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: h.Proc}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if state := s.State(); state.Snapshot != nil {
		t.Error("there is a snapshot before the first")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait := func(what string, done func(event.State) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !done(s.State()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never: %s (state %+v)", what, s.State())
			}
		}
	}
	wait("two heartbeats", func(state event.State) bool { return state.Snapshot != nil && state.Snapshot.Heartbeat.Heartbeat >= 2 })
	// What becomes unreadable later costs the heartbeats, not the sensor.
	h.Must(os.RemoveAll(h.Path("100")))
	wait("a heartbeat that failed", func(state event.State) bool { return state.Failures > 0 && state.Snapshot.Heartbeat.TCPListeners == 1 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRunWithNothingToRead(t *testing.T) {
	s, err := New(Config{SensorID: "s", Interval: time.Second, Spool: deliver.DefaultOptions(), Proc: t.TempDir()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err == nil {
		t.Error("a sensor that can read nothing does not end")
	}
}
