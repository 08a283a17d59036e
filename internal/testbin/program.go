package testbin

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Program is a running program.
type Program struct {
	// Command that runs; its Wait belongs to the methods of Program.
	Command *exec.Cmd
	t       testing.TB
	output  string
}

// Start runs one of netview's programs, with more variables in its environment,
// until the test ends. What it says is in the log of a test that failed.
func Start(t testing.TB, name string, environment []string, arguments ...string) *Program {
	t.Helper()
	return StartFile(t, Path(t, name), environment, arguments...)
}

// StartFile is [Start] for a program at a path.
func StartFile(t testing.TB, file string, environment []string, arguments ...string) *Program {
	t.Helper()
	command := exec.Command(file, arguments...)
	command.Env = append(os.Environ(), environment...)
	return StartCommand(t, command)
}

// StartCommand is [Start] for a command, whose output it takes.
func StartCommand(t testing.TB, command *exec.Cmd) *Program {
	t.Helper()
	name := filepath.Base(command.Path)
	output, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	p := &Program{t: t, Command: command, output: output.Name()}
	p.Command.Stdout, p.Command.Stderr = output, output
	if err := p.Command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.Command.ProcessState == nil {
			_ = p.Command.Process.Kill()
			_ = p.Command.Wait()
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.Said())
		}
	})
	return p
}

// Said is all that it wrote to its output and its errors.
func (p *Program) Said() string {
	text, _ := os.ReadFile(p.output)
	return string(text)
}

// Wait waits for the end and returns the exit code, -1 after a signal.
func (p *Program) Wait() int {
	_ = p.Command.Wait() // its code is what counts
	return p.Command.ProcessState.ExitCode()
}

// Stop is a clean end.
func (p *Program) Stop() {
	p.t.Helper()
	_ = p.Command.Process.Signal(syscall.SIGTERM)
	if code := p.Wait(); code != 0 {
		p.t.Errorf("%s exits %d after SIGTERM", p.Command.Path, code)
	}
}

// Eventually waits for f to return nothing; what it returned last is the failure.
func Eventually(t testing.TB, patience time.Duration, f func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		missing := f()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(missing)
		}
	}
}
