package process

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fake is a process in a procfs that the test writes.
type fake struct {
	pid     int
	ticks   int
	name    string
	exe     string
	uid     int
	cgroup  string
	cmdline string
	sockets []int
}

// write puts the process into the directory, in place of one with its pid.
func (f fake) write(t *testing.T, proc string) {
	t.Helper()
	dir := filepath.Join(proc, fmt.Sprint(f.pid))
	f.remove(t, proc)
	if err := os.MkdirAll(dir+"/fd", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/ns", 0o755); err != nil {
		t.Fatal(err)
	}
	stat := fmt.Sprintf("%d (%s) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n", f.pid, f.name, f.ticks)
	for name, text := range map[string]string{
		"stat": stat, "cgroup": f.cgroup, "cmdline": f.cmdline,
		"status": fmt.Sprintf("Name:\t%s\nUmask:\t0022\nUid:\t0\t%d\t0\t0\n", f.name, f.uid),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]string{"ns/net": "net:[4026531840]", "fd/0": "/dev/null", "fd/1": "pipe:[77]"}
	if f.exe != "" {
		links["exe"] = f.exe
	}
	for i, inode := range f.sockets {
		links[fmt.Sprintf("fd/%d", i+3)] = fmt.Sprintf("socket:[%d]", inode)
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func (f fake) remove(t *testing.T, proc string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(proc, fmt.Sprint(f.pid))); err != nil {
		t.Fatal(err)
	}
}

// passwd writes the passwd file of the host, as process 1 has it.
func passwd(t *testing.T, proc, text string) {
	t.Helper()
	dir := filepath.Join(proc, "1/root/etc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/passwd", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
