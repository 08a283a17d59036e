package deliver

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/netview-project/netview/event"
)

// seedFiles are what a spool leaves on disk: a segment, a snapshot, its state.
func seedFiles(f *testing.F) (segment, snapshotFile, state []byte) {
	f.Helper()
	o := options(f, "grpc://127.0.0.1:1")
	s := open(f, o)
	s.AppendEvents(flows(3))
	s.AppendEvents(flows(2))
	s.AppendSnapshot(snapshot(1, 3))
	if err := s.makeLast(); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	read := func(pattern string) []byte {
		files, err := filepath.Glob(filepath.Join(o.Dir, pattern))
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v %v", pattern, files, err)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			f.Fatal(err)
		}
		return text
	}
	return read(eventsDir + "/0*"), read(snapshotsDir + "/0*"), read(stateFile)
}

// FuzzSpool: whatever lies in the directory of a spool, it opens, gives what is
// whole, counts what is not, and goes on to keep records.
func FuzzSpool(f *testing.F) {
	segment, snapshotFile, stateText := seedFiles(f)
	f.Add(segment, snapshotFile, stateText)
	f.Add(segment[:len(segment)/2], snapshotFile[:len(snapshotFile)/2], stateText[:len(stateText)/2])
	f.Add([]byte{}, []byte{}, []byte(`{"session":"00000000-0000-0000-0000-000000000001","settled":18446744073709551615,"segment":-1,"entries":-1}`))
	f.Fuzz(func(t *testing.T, segment, snapshotFile, stateText []byte) {
		dir := t.TempDir()
		for name, content := range map[string][]byte{eventsDir + "/00000000": segment, snapshotsDir + "/000000000001-1-4-" + session.String(): snapshotFile, stateFile: stateText} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := DefaultOptions()
		o.Resource, o.Dir, o.Log = event.Resource{SensorID: "s", Session: uuid.New()}, dir, slog.New(slog.DiscardHandler)
		s := open(t, o)
		s.AppendEvents(flows(1))
		s.mutex.Lock()
		for range 100 {
			taken := s.events.take()
			if taken == nil {
				break
			}
			s.conclude(taken.entry, nil)
			s.events.settle(taken)
		}
		for stored := s.snapshots.take(); stored != nil; stored = s.snapshots.take() {
			s.snapshots.finish(stored)
		}
		s.events.bound(time.Now())
		s.update()
		s.mutex.Unlock()
		if s.Status().Disk != nil {
			t.Errorf("the disk is not used any more: %v", s.Status().Disk)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzEntry: an entry of the spool is read back as it was written, or refused.
func FuzzEntry(f *testing.F) {
	for _, e := range encode(snapshot(1, 2).Rows(), time.Unix(1, 0)) {
		f.Add(e.marshal())
	}
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add([]byte("\x1d{\"First\":2,\"Last\":1,\"kinds\":{}}"))
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := unmarshal(record)
		if err != nil {
			return
		}
		again, err := unmarshal(e.marshal())
		if err != nil || again.First != e.First || again.Last != e.Last || again.Session != e.Session || string(again.body) != string(e.body) {
			t.Errorf("%+v comes back as %+v: %v", e, again, err)
		}
	})
}

// FuzzEndpoint: an endpoint is refused with its name, or gives a client.
func FuzzEndpoint(f *testing.F) {
	for _, endpoint := range []string{"grpc://h:4317", "https://[::1]:4318/", "grpcs://h:1", "http://u:p@h:1", "unix:x", "grpc://[fe80::1%25lo]:1"} {
		f.Add(endpoint)
	}
	f.Fuzz(func(t *testing.T, endpoint string) {
		if client, err := NewClient(endpoint, Security{}); err == nil {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
