package quickstart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// part is a running program of netview.
type part struct {
	name, log string
	command   *exec.Cmd
	done      chan struct{}
}

func launch(o *Options, name string, environment []string, arguments ...string) (*part, error) {
	p := &part{name: name, log: filepath.Join(o.State, "log", name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close()
	p.command = exec.Command(filepath.Join(o.Bin, name), arguments...)
	p.command.Env = append(os.Environ(), environment...)
	p.command.Stdout, p.command.Stderr = log, log
	// A group of its own: Ctrl-C reaches this program alone, which stops the
	// parts in order. Should it be killed, they are told to end.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		// Pdeathsig follows the thread that started the part, so that thread
		// stays until the part has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.command.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w (build it with `make build`)", name, err)
	}
	return p, nil
}

func (p *part) ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself (%v). The end of %s:\n%s", p.name, p.command.ProcessState, p.log, tail(p.log))
	default:
		return nil
	}
}

func (p *part) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(stopPatience):
		_ = p.command.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed: see %s", p.name, stopPatience, p.log)
	}
}

// tail is the last lines of a log.
func tail(file string) string {
	text, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// warnings are the lines that the part has logged as such.
func (p *part) warnings() (lines []string) {
	text, _ := os.ReadFile(p.log)
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "level=WARN") {
			lines = append(lines, strings.TrimSpace(line[strings.Index(line, "msg="):]))
		}
	}
	return lines
}
