package libc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/sensor/probe"
	"github.com/netview-project/netview/sensor/rights"
)

// asChild makes the test binary a process that drops its rights and then watches.
const asChild = "NETVIEW_TEST_LOOKUPS"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		childWatches()
		return
	}
	testbin.Main(m)
}

// childWatches as a sensor does, and says what it sees until its input ends.
func childWatches() {
	p := probe.Open(slog.New(slog.DiscardHandler))
	for _, f := range p.Features() {
		if f.Name == probe.FeatureLookup && f.Err != nil {
			fmt.Println("off", f.Err, f.Remedy)
			return
		}
	}
	kept, err := rights.KeepToRun()
	fmt.Println("kept", kept, err)
	ctx, cancel := context.WithCancel(context.Background())
	finder := New("/proc", p, slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})))
	go finder.Run(ctx, interval)
	go func() {
		_ = p.Run(ctx, probe.Handler{Exec: finder.Exec, Lookup: func(l *probe.Lookup) {
			name, _ := l.Name()
			fmt.Printf("lookup %s in %s\n", name, finder.Path(l.Library))
		}})
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
}

// TestRights: a user with the capabilities of docs/rights.md, with and without
// CAP_SYS_ADMIN, attaches to what comes after the rest was dropped.
func TestRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to give capabilities to a process needs root")
	}
	file := compiled(t, "gcc", "lookup.c")
	all, without := rights.Least()
	for name, capabilities := range map[string][]string{"all": all, "without CAP_SYS_ADMIN": without} {
		t.Run(name, func(t *testing.T) {
			const nobody = 65534
			command := exec.Command("/proc/self/exe")
			command.Env = append(os.Environ(), asChild+"=1")
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			for _, name := range capabilities {
				value, err := cap.FromName(strings.ToLower(name))
				if err != nil {
					t.Fatal(err)
				}
				command.SysProcAttr.AmbientCaps = append(command.SysProcAttr.AmbientCaps, uintptr(value))
			}
			input, err := command.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			child := testbin.StartCommand(t, command)
			// say waits for words of the child, while something is done.
			say := func(text string, do func()) {
				t.Helper()
				testbin.Eventually(t, patience, func() string {
					do()
					if said := child.Said(); !strings.Contains(said, text) {
						return fmt.Sprintf("%q, in\n%s", text, said)
					}
					return ""
				})
			}
			say("kept", func() {})
			if strings.Contains(child.Said(), "off") {
				t.Fatal(child.Said())
			}
			// A libc that comes later, in a directory that is closed to the child.
			dir := t.TempDir()
			newRoot(t, dir, file)
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			s := newStage(t)
			release := s.hold(inRoot(dir, "wait"))
			say("lookup 127.0.0.3 in "+dir+lib(t, file), func() { s.runIn(inRoot(dir, "node", "127.0.0.3")) })
			release()
			input.Close()
			if err := command.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
