package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/ebitengine/purego"
	"golang.org/x/sys/unix"
)

// Run turns this process into the engine that a [Server] has asked for by these
// arguments: it confines itself, loads the library and does not return until the
// engine ends. The result is the exit code.
//
// It must have a process of its own, with a pseudo-terminal as standard input:
// the library installs signal handlers under which a nil dereference in Go is
// no longer a panic, and without a terminal it aborts when a client fails.
func Run(arguments []string) (code int, err error) {
	if len(arguments) < 1 {
		return 1, errors.New("this command is for netview itself")
	}
	var c child
	if err := json.Unmarshal([]byte(arguments[0]), &c); err != nil {
		return 1, fmt.Errorf("reading what to run: %w", err)
	}
	if c.Confined {
		return c.run(arguments[1:])
	}
	// What is confined is this thread; the program that it executes inherits it.
	runtime.LockOSThread()
	executable, err := os.Executable()
	if err != nil {
		return 1, err
	}
	if err := c.confine(executable); err != nil {
		return 1, fmt.Errorf("confining the ClickHouse engine: %w", err)
	}
	c.Confined = true
	told, err := json.Marshal(c)
	if err != nil {
		return 1, err
	}
	return 1, unix.Exec(executable, append([]string{os.Args[0], "engine", string(told)}, arguments[1:]...), os.Environ())
}

func (c *child) run(arguments []string) (code int, err error) {
	library := c.Library
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return 1, fmt.Errorf("loading the ClickHouse engine %s: %w", library, err)
	}
	// The engine echoes statements on fd 1; nobody reads them.
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 1, err
	}
	if err := unix.Dup3(int(null.Fd()), 1, 0); err != nil {
		return 1, fmt.Errorf("silencing the engine's echo: %w", err)
	}
	var commandLine func(argc int32, argv **byte) (result uintptr)
	var resultError func(result uintptr) string
	purego.RegisterLibFunc(&commandLine, handle, "chdb_query_cmdline")
	purego.RegisterLibFunc(&resultError, handle, "chdb_result_error")

	argv := make([]*byte, 0, len(arguments)+2)
	for _, argument := range append([]string{"clickhouse"}, arguments...) {
		argv = append(argv, &append([]byte(argument), 0)[0])
	}
	argv = append(argv, nil)
	result := commandLine(int32(len(argv)-1), &argv[0])
	runtime.KeepAlive(argv)
	// Why it could not start is said nowhere else that anybody reads.
	if message := resultError(result); message != "" {
		return 1, fmt.Errorf("the ClickHouse engine: %s", message)
	}
	return 0, nil
}
