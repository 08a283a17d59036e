// Package engine runs the ClickHouse engine of the npm package chdb as a child
// process with real native and HTTP ports, for hosts that have no ClickHouse
// server of their own. docs/clickhouse.md says what it has and has not.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/creack/pty"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// LibraryPath is where npm puts the engine below the folder it installs into.
const LibraryPath = "node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// Options of a [Server]. All are required but Log.
type Options struct {
	// Executable that calls [Run] when it is given the arguments
	// engine ARGUMENT….
	Executable string
	// Library is the path of libchdb.so.
	Library string
	// DataDir holds the data, the configuration and the credentials.
	DataDir string
	// TCPAddress and HTTPAddress are host:port of the two protocols; the host
	// of both is that of TCPAddress.
	TCPAddress, HTTPAddress string
	// Unconfined lets the engine start where the kernel cannot confine it:
	// whoever reaches its ports can then read files with this user's rights.
	Unconfined bool
	// Log gets what the engine prints.
	Log io.Writer
}

// Server is a running engine.
type Server struct {
	options   Options
	passwords map[string]string // by user
	command   *exec.Cmd
	terminal  *os.File
	lock      *os.File
	done      chan struct{}
}

// startTimeout bounds the wait for the ports to answer.
const startTimeout = 60 * time.Second

// Start returns when the engine answers on its native port. The engine ends
// with this process, however that ends.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Log == nil {
		options.Log = io.Discard
	}
	var err error
	if options.DataDir, err = filepath.Abs(options.DataDir); err != nil {
		return nil, err
	}
	if options.Library, err = filepath.Abs(options.Library); err != nil {
		return nil, err
	}
	if _, err := os.Stat(options.Library); err != nil {
		return nil, fmt.Errorf("the ClickHouse engine is not installed: %w (run `make deps`, or npm install chdb@3.4.0)", err)
	}
	if !options.Unconfined {
		if err := canConfine(); err != nil {
			return nil, err
		}
	}
	if err := options.resolve(); err != nil {
		return nil, err
	}
	// The engine only prints that it cannot listen, and another server's port
	// would then pass for its own.
	for _, address := range []string{options.TCPAddress, options.HTTPAddress} {
		if err := portIsFree(address); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(options.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	s := &Server{options: options, done: make(chan struct{})}
	if s.lock, err = lockDir(options.DataDir); err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

// resolve puts numbers for names into the addresses, which the confined engine
// cannot, and refuses those on which it would never answer.
func (o *Options) resolve() error {
	var resolved []*net.TCPAddr
	for _, address := range []string{o.TCPAddress, o.HTTPAddress} {
		addr, err := net.ResolveTCPAddr("tcp", address)
		if err == nil && (addr.IP == nil || addr.Port == 0) {
			err = errors.New("it needs a host and a port")
		}
		if err != nil {
			return fmt.Errorf("ClickHouse cannot have the address %q: %w (write it like 127.0.0.1:19000)", address, err)
		}
		resolved = append(resolved, addr)
	}
	native, http := resolved[0], resolved[1]
	if !native.IP.Equal(http.IP) {
		return fmt.Errorf("ClickHouse cannot have %s for native and %s for HTTP: give both the same host", o.TCPAddress, o.HTTPAddress)
	}
	if native.Port == http.Port {
		return fmt.Errorf("ClickHouse cannot have %s for both native and HTTP: choose another port for one", o.TCPAddress)
	}
	o.TCPAddress, o.HTTPAddress = native.String(), http.String()
	return nil
}

func portIsFree(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("ClickHouse cannot have %s: %w (is another one running? stop it or choose another port)", address, err)
	}
	return listener.Close()
}

// lockDir refuses a data directory that another engine uses. The kernel gives
// the lock back when its holder ends, however that ends.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "netview.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another ClickHouse engine: stop that, or use another directory", dir)
	}
	return lock, nil
}

func (s *Server) launch(ctx context.Context) error {
	s.passwords = map[string]string{}
	for _, user := range users {
		secret, err := password(s.options.DataDir, user)
		if err != nil {
			return err
		}
		s.passwords[user] = secret
	}
	config, err := writeConfig(&s.options, s.passwords)
	if err != nil {
		return err
	}
	for _, dir := range []string{home(s.options.DataDir), store(s.options.DataDir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the engine's directories: %w", err)
		}
	}
	c := child{Library: s.options.Library, DataDir: s.options.DataDir, Confined: s.options.Unconfined}
	for _, address := range []string{s.options.TCPAddress, s.options.HTTPAddress} {
		resolved, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return fmt.Errorf("address %q: %w", address, err)
		}
		c.Ports = append(c.Ports, uint16(resolved.Port))
	}
	told, err := json.Marshal(c)
	if err != nil {
		return err
	}
	// --poll_interval: an idle native connection is noticed, and closed at a
	// stop, after a second instead of five.
	// --disable_suggestion: loading them is a query too many for the quota.
	s.command = exec.Command(s.options.Executable, "engine", string(told),
		"--interactive", "--disable_suggestion", "--path", store(s.options.DataDir), "--config-file", config,
		"--poll_interval", "1", "--query", "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP")
	// clickhouse-local loads config.xml from its working directory and its home.
	s.command.Dir, s.command.Env = home(s.options.DataDir), []string{"HOME=" + home(s.options.DataDir), "TERM=dumb", "PATH=/usr/bin:/bin"}
	s.command.Stderr = s.options.Log
	terminal, tty, err := pty.Open()
	if err != nil {
		return fmt.Errorf("opening a pseudo-terminal for the engine: %w", err)
	}
	s.terminal = terminal
	s.command.Stdin = tty
	// A session of its own with the terminal as its controlling one: when this
	// process ends, by kill -9 too, the terminal hangs up and the engine with it.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	s.command.ExtraFiles = nil
	err = s.command.Start()
	tty.Close()
	if err != nil {
		terminal.Close()
		return fmt.Errorf("starting the engine: %w", err)
	}
	go io.Copy(io.Discard, terminal) // the prompt's echo; the reader ends with the terminal
	go func() {
		s.command.Wait()
		close(s.done)
	}()
	if err := s.waitReady(ctx); err != nil {
		s.Kill()
		return err
	}
	return nil
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options, err := clickhouse.ParseDSN(s.DSN(Reader))
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(options)
	if err != nil {
		return err
	}
	defer conn.Close()
	for {
		err := conn.Ping(ctx)
		if err == nil {
			err = dial(ctx, s.options.HTTPAddress)
		}
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the engine ended while it started (%v): see its log", s.command.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("the engine does not answer on %s: %w (last: %w)", s.options.TCPAddress, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func dial(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// DSN of a user, for the native port: one of [Owner], [Writer] and [Reader].
func (s *Server) DSN(user string) string {
	return s.options.dsn(user, s.passwords[user])
}

// PID of the engine.
func (s *Server) PID() int { return s.command.Process.Pid }

// Done is closed when the engine has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop ends the engine cleanly; after ctx it is killed.
func (s *Server) Stop(ctx context.Context) error {
	defer s.release()
	ctrlD := time.NewTicker(100 * time.Millisecond)
	defer ctrlD.Stop()
	for {
		// One Ctrl-D can be swallowed by the line editor while it starts.
		_, _ = s.terminal.Write([]byte{4})
		select {
		case <-s.done:
			if !s.command.ProcessState.Success() {
				return fmt.Errorf("the engine failed while it stopped (%v): see its log; committed data is safe", s.command.ProcessState)
			}
			return nil
		case <-ctx.Done():
			s.Kill()
			return errors.New("the engine did not stop in time and was killed; committed data is safe")
		case <-ctrlD.C:
		}
	}
}

// Kill ends the engine at once, as kill -9 does. Committed data is safe.
func (s *Server) Kill() {
	_ = s.command.Process.Kill() // it may have ended already
	<-s.done
	s.release()
}

func (s *Server) release() {
	s.terminal.Close()
	s.lock.Close()
}

// WriteDSNs puts the DSN of each user, and the reader's name and password for curl,
// into files that only the user of this process can read.
func (s *Server) WriteDSNs() error {
	files := [][2]string{{CurlFile(s.options.DataDir), fmt.Sprintf("user = %q\n", Reader+":"+s.passwords[Reader])}}
	for _, user := range users {
		files = append(files, [2]string{DSNFile(s.options.DataDir, user), s.DSN(user) + "\n"})
	}
	for _, file := range files {
		// As a whole: somebody may read that of an earlier run at the same time.
		if err := renameio.WriteFile(file[0], []byte(file[1]), 0o600, renameio.WithTempDir(Credentials(s.options.DataDir))); err != nil {
			return fmt.Errorf("writing the credentials: %w", err)
		}
	}
	return nil
}
