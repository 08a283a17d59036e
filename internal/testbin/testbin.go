// Package testbin gives tests netview's programs, built from this tree.
package testbin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// temporary is the folder that was made for the programs, if one was.
var temporary string

// folder holds the programs: that of NETVIEW_BIN, where `make test` has just
// built them, or a temporary one.
var folder = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("NETVIEW_BIN"); dir != "" {
		return dir, nil
	}
	var err error
	if temporary, err = os.MkdirTemp("", "netview-bin-"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", temporary+"/", "github.com/netview-project/netview/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building netview's programs: %w\n%s", err, out)
	}
	return temporary, nil
})

// Path of a program.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// Main runs the tests of a package and removes what was built for them; call it
// from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if temporary != "" {
		os.RemoveAll(temporary)
	}
	os.Exit(code)
}
