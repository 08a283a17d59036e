package rights

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// asChild makes the test binary a process that drops its rights, for good.
const asChild = "NETVIEW_TEST_DROP"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	if err := childDrops(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// childDrops with threads of every sort: one locked to its goroutine, one in
// another network namespace, one that the kernel holds in a read, and one that is
// born afterwards. It prints the rights of each.
func childDrops() error {
	ready, end := make(chan error), make(chan struct{})
	thread := func(f func() error) error {
		go func() {
			runtime.LockOSThread()
			ready <- f()
			<-end
		}()
		return <-ready
	}
	if err := thread(func() error { return nil }); err != nil {
		return err
	}
	if err := thread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	got := make(chan byte)
	go func() {
		var b [1]byte
		for {
			if n, err := unix.Read(pipe[0], b[:]); err != unix.EINTR {
				got <- b[max(0, n-1)]
				return
			}
		}
	}()
	kept, err := KeepToRun()
	if err != nil {
		return err
	}
	fmt.Println("kept", strings.Join(kept, " "))
	if err := thread(func() error { return nil }); err != nil {
		return err
	}
	if _, err := unix.Write(pipe[1], []byte{7}); err != nil {
		return err
	}
	fmt.Println("read", <-got)
	files, err := filepath.Glob("/proc/self/task/*/status")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that ended
		}
		fmt.Println(regexp.MustCompile(`(?m)^(?:Cap\w+|NoNewPrivs):\s*`).ReplaceAllString(strings.Join(regexp.MustCompile(`(?m)^(?:Cap|NoNewPrivs).*$`).FindAllString(string(text), -1), "\n"), ""))
	}
	close(end)
	return err
}

// TestEveryThread: what is dropped is dropped in all threads, whatever they do.
func TestEveryThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("there are no rights to drop without root")
	}
	var mask uint64
	var names []string
	for _, r := range Held() {
		if r.Kept != "" && r.Held {
			mask |= 1 << r.value
			names = append(names, r.Name)
		}
	}
	if len(names) < 3 {
		t.Skipf("of the capabilities that are kept this test has only %v", names)
	}
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), asChild+"=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := string(out)
	zero, left := fmt.Sprintf("%016x\n", 0), fmt.Sprintf("%016x\n", mask)
	thread := zero + left + left + left + zero + "1\n"
	head, threads, _ := strings.Cut(said, "read 7\n")
	for _, name := range names {
		if !strings.Contains(head, name) {
			t.Errorf("it does not say that it keeps %s: %s", name, head)
		}
	}
	if n := strings.Count(threads, thread); n < 5 || strings.ReplaceAll(threads, thread, "") != "" {
		t.Errorf("%d threads have what is kept and no more, of\n%s", n, threads)
	}
}
