package libc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testbin"
)

// newRoot is a directory with a program and all that it loads.
func newRoot(t testing.TB, dir, file string) {
	t.Helper()
	copied(t, file, filepath.Join(dir, "lookup"))
	for _, library := range libraries(t, file) {
		copied(t, library, filepath.Join(dir, library))
	}
}

// libraries of a program of glibc, with its loader, which says so.
func libraries(t testing.TB, file string) (paths []string) {
	t.Helper()
	command := exec.Command(file)
	command.Env = append(os.Environ(), "LD_TRACE_LOADED_OBJECTS=1")
	out, err := command.Output()
	if err != nil {
		t.Skipf("asking for the libraries of %s: %v", file, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(word, "/") {
			paths = append(paths, word)
		}
	}
	return paths
}

// mounted is a directory on which something is mounted until it is unmounted, at the
// latest when the test ends.
func mounted(t *testing.T, kind, data string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("none", dir, kind, 0, data); err != nil {
		t.Skipf("mounting %s: %v", kind, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // where the test has not
	return dir
}

// inRoot is a program whose root is a directory.
func inRoot(dir string, arguments ...string) *exec.Cmd {
	command := exec.Command("/lookup", arguments...)
	command.Dir, command.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: dir}
	return command
}

// runIn runs a program to its good end, on the stage.
func (s *stage) runIn(command *exec.Cmd) {
	s.t.Helper()
	s.Do(s.t, func() error {
		if out, err := command.CombinedOutput(); err != nil {
			s.t.Errorf("%v: %v: %s", command, err, out)
		}
		return nil
	})
}

// gone waits until a libc is let go.
func (w *watcher) gone(is func(*Library) bool) {
	w.t.Helper()
	testbin.Eventually(w.t, patience, func() string {
		for _, l := range w.finder.State().Libraries {
			if is(&l) {
				return fmt.Sprintf("that %v is let go", l)
			}
		}
		return ""
	})
}

// lib is where newRoot puts the libc of a program.
func lib(t testing.TB, file string) string {
	t.Helper()
	for _, path := range libraries(t, file) {
		if isLibc([]byte(path)) {
			return path
		}
	}
	t.Skipf("%s has no libc", file)
	return ""
}

// TestRoot: a libc of a root of its own is found, and let go so that what it was on
// can be unmounted at once and is free soon.
func TestRoot(t *testing.T) {
	file := compiled(t, "gcc", "lookup.c")
	w := watch(t, interval)
	dir := mounted(t, "tmpfs", "")
	newRoot(t, dir, file)
	own := named(dir + lib(t, file))
	s := w.in(t)
	release := s.hold(inRoot(dir, "wait"))
	w.attached(own)
	s.runIn(inRoot(dir, "node", "127.0.0.1", "80"))
	w.expect(s.NS, "127.0.0.1 80 ok [127.0.0.1] by lookup")
	release()
	if err := unix.Unmount(dir, 0); err != nil {
		t.Errorf("unmounting what a libc was on: %v", err)
	}
	w.gone(own)
}

// TestExec: a libc in a root where no program has run before is found at once, and
// so is one in a mount namespace, as that of a container.
func TestExec(t *testing.T) {
	file := compiled(t, "gcc", "lookup.c")
	w := watch(t, never)
	t.Run("a root", func(t *testing.T) {
		s := w.in(t)
		dir := t.TempDir()
		newRoot(t, dir, file)
		s.runIn(inRoot(dir, "later"))
		w.expect(s.NS, "127.0.0.1 - ok [127.0.0.1] by lookup")
	})
	t.Run("a mount namespace", func(t *testing.T) {
		s := w.in(t)
		dir, image := t.TempDir(), t.TempDir()
		newRoot(t, image, file)
		// The root has the same path and inode for all of them: it is the namespace that
		// is new.
		command := exec.Command("sh", "-c", `mount -t tmpfs none "$0" && cp -R "$1"/. "$0" && exec chroot "$0" /lookup later`, dir, image)
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		s.runIn(command)
		w.expect(s.NS, "127.0.0.1 - ok [127.0.0.1] by lookup")
	})
}

// TestTwins: a libc that two overlays share is one inode to the kernel, and two files
// to everybody else. Each call is told once, and the probes are attached once when it
// has been seen.
func TestTwins(t *testing.T) {
	file := compiled(t, "gcc", "lookup.c")
	w := watch(t, interval)
	image, empty := t.TempDir(), t.TempDir()
	newRoot(t, image, file)
	one, other := mounted(t, "overlay", "lowerdir="+empty+":"+image), mounted(t, "overlay", "lowerdir="+empty+":"+image)
	count := func() (n int) {
		for _, l := range w.finder.State().Libraries {
			if strings.HasPrefix(l.Path, one) || strings.HasPrefix(l.Path, other) {
				n++
			}
		}
		return n
	}
	s := w.in(t)
	releases := []func(){s.hold(inRoot(one, "wait")), s.hold(inRoot(other, "wait"))}
	testbin.Eventually(t, patience, func() string {
		if n := count(); n != 2 {
			return fmt.Sprintf("two libcs, not %d", n)
		}
		return ""
	})
	s.runIn(inRoot(one, "node", "127.0.0.1", "80"))
	testbin.Eventually(t, patience, func() string {
		if n := count(); n != 1 {
			return fmt.Sprintf("one libc, not %d", n)
		}
		return ""
	})
	s.runIn(inRoot(other, "node", "127.0.0.2", "80"))
	w.expect(s.NS, "127.0.0.1 80 ok [127.0.0.1] by lookup", "127.0.0.2 80 ok [127.0.0.2] by lookup")
	for _, release := range releases {
		release()
	}
	testbin.Eventually(t, patience, func() string {
		if n := count(); n != 0 {
			return fmt.Sprintf("that %d libcs are let go", n)
		}
		return ""
	})
	for _, dir := range []string{one, other} {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting what a libc was on: %v", err)
		}
	}
}

// TestReplaced: a libc that was replaced, as an upgrade does, is still that of the
// processes which have it.
func TestReplaced(t *testing.T) {
	file := compiled(t, "gcc", "lookup.c")
	dir := t.TempDir()
	newRoot(t, dir, file)
	s := newStage(t)
	release := s.hold(inRoot(dir, "wait"))
	testbin.Eventually(t, patience, func() string { // it has the old one
		if said, _ := exec.Command("sh", "-c", "grep -l "+dir+lib(t, file)+" /proc/[0-9]*/maps").Output(); len(said) == 0 {
			return "the libc in memory"
		}
		return ""
	})
	copied(t, filepath.Join(dir, lib(t, file)), filepath.Join(dir, "new"))
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, lib(t, file))); err != nil {
		t.Fatal(err)
	}
	w := watch(t, interval)
	w.attached(named(dir + lib(t, file)))
	again := s.hold(inRoot(dir, "wait"))
	testbin.Eventually(t, patience, func() string {
		n := 0
		for _, l := range w.finder.State().Libraries {
			if l.Path == dir+lib(t, file) && l.Err == nil {
				n++
			}
		}
		if n != 2 {
			return fmt.Sprintf("both libcs, not %d", n)
		}
		return ""
	})
	release()
	again()
}
