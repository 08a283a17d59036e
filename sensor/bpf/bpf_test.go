package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestObjectsAreCurrent builds the objects anew, where the compiler is, and
// compares them with those that are committed.
func TestObjectsAreCurrent(t *testing.T) {
	for _, tool := range []string{"clang-16", "llvm-strip-16"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (apt-get install clang-16 llvm-16 libbpf-dev)", tool)
		}
	}
	if _, err := os.Stat("/usr/include/bpf/bpf_helpers.h"); err != nil {
		t.Skipf("libbpf's headers are not installed (apt-get install libbpf-dev): %v", err)
	}
	// Inside of the module, so that bpf2go is of the module's version.
	dir, err := os.MkdirTemp(".", "current-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	committed := map[string][]byte{}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if file.IsDir() {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "_bpfel.") {
			committed[name] = text
		} else if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	generate := exec.Command("go", "generate", ".")
	generate.Dir = dir
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range committed {
		if made, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(made, want) {
			t.Errorf("%s is not what its source gives: run `make generate` (%v)", name, err)
		}
	}
	if len(committed) == 0 {
		t.Error("no objects are committed")
	}
}
