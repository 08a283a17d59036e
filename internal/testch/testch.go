// Package testch gives tests a real ClickHouse.
package testch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Server is an engine with its data in a temporary directory.
type Server struct {
	*engine.Server
	t       testing.TB
	options engine.Options
}

// Library is where the engine's library is looked for.
func Library() string {
	if file := os.Getenv("NETVIEW_CHDB_LIBRARY"); file != "" {
		return file
	}
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "../../var/npm", engine.LibraryPath)
}

// Main is [testbin.Main]; call it from TestMain.
func Main(m *testing.M) { testbin.Main(m) }

// Start runs an engine until the test ends, or skips the test where there is none.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := os.Stat(Library()); err != nil {
		t.Skipf("no ClickHouse engine: %v (run `make deps`)", err)
	}
	s := &Server{t: t, options: engine.Options{Executable: testbin.Path(t, "netview-clickhouse"), Library: Library(), DataDir: t.TempDir(),
		TCPAddress: testbin.FreeAddress(t), HTTPAddress: testbin.FreeAddress(t), Log: t.Output()}}
	s.Restart()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		select {
		case <-s.Done():
		default:
			if err := s.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// Restart starts the engine again after [engine.Server.Kill] or Stop, on the
// same data and ports.
func (s *Server) Restart() {
	s.t.Helper()
	var err error
	if s.Server, err = engine.Start(context.Background(), s.options); err != nil {
		s.t.Fatal(err)
	}
}

// HTTPDSN is [engine.Server.DSN] for the HTTP port.
func (s *Server) HTTPDSN(user string) string {
	return strings.NewReplacer("clickhouse://", "http://", s.options.TCPAddress, s.options.HTTPAddress).Replace(s.DSN(user))
}

// Options with which the engine was started.
func (s *Server) Options() engine.Options { return s.options }

// CPU that the server has used, in seconds.
func (s *Server) CPU() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks float64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100 // USER_HZ, the same on every Linux that Go runs on
}
