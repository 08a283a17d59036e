// Package testch gives tests a real ClickHouse.
package testch

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Server is an engine with its data in a temporary directory.
type Server struct {
	*engine.Server
	t       testing.TB
	options engine.Options
}

var executable = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "netview-test-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "netview-clickhouse")
	build := exec.Command("go", "build", "-o", file, "github.com/netview-project/netview/cmd/netview-clickhouse")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return file, build.Run()
})

// Library is where the engine's library is looked for.
func Library() string {
	if file := os.Getenv("NETVIEW_CHDB_LIBRARY"); file != "" {
		return file
	}
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "../../var/npm", engine.LibraryPath)
}

// Main removes what the tests of a package built; call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if file, err := executable(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// Start runs an engine until the test ends, or skips the test where there is none.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := os.Stat(Library()); err != nil {
		t.Skipf("no ClickHouse engine: %v (run `make deps`)", err)
	}
	file, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, options: engine.Options{Executable: file, Library: Library(), DataDir: t.TempDir(),
		TCPAddress: FreeAddress(t), HTTPAddress: FreeAddress(t)}}
	s.Restart()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
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

// FreeAddress returns a loopback address that nobody listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
