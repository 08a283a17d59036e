// Command netview-clickhouse runs an embedded ClickHouse engine with native and
// HTTP ports on loopback, for hosts without a ClickHouse server.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"

	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func main() {
	// The child: not a command for people, so it stands before the flags.
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		code, err := engine.Run(os.Args[2:])
		if err != nil {
			fail(err)
		}
		os.Exit(code)
	}
	app := kingpin.New("netview-clickhouse", "An embedded ClickHouse engine with native and HTTP ports.")
	app.Version(version.Print("netview-clickhouse"))
	app.HelpFlag.Short('h')
	var options engine.Options
	app.Flag("library", "Path of libchdb.so from the npm package chdb.").Default(filepath.Join("var/npm", engine.LibraryPath)).StringVar(&options.Library)
	app.Flag("data", "Directory of the data, the configuration and the credentials.").Default("var/clickhouse").StringVar(&options.DataDir)
	app.Flag("tcp-address", "Address of the native protocol.").Default("127.0.0.1:19000").StringVar(&options.TCPAddress)
	app.Flag("http-address", "Address of the HTTP protocol.").Default("127.0.0.1:18123").StringVar(&options.HTTPAddress)
	app.Flag("unconfined", "Start where the kernel has no Landlock: whoever reaches the ports can then read files with the rights of this user.").BoolVar(&options.Unconfined)
	logFile := app.Flag("log", "File for the engine's log; standard error where it is empty.").String()
	kingpin.MustParse(app.Parse(os.Args[1:]))

	if err := serve(options, *logFile); err != nil {
		fail(err)
	}
}

func serve(options engine.Options, logFile string) (err error) {
	options.Log = io.Writer(os.Stderr)
	if logFile != "" {
		file, err := os.OpenFile(logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("opening the log: %w", err)
		}
		defer file.Close()
		options.Log = file
	}
	if options.Executable, err = os.Executable(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server, err := engine.Start(ctx, options)
	if err != nil {
		return err
	}
	if err := server.WriteDSNs(); err != nil {
		server.Kill()
		return err
	}
	fmt.Printf("ClickHouse is ready: native %s, HTTP %s; DSNs of its users in %s\n", options.TCPAddress, options.HTTPAddress, engine.Credentials(options.DataDir))
	select {
	case <-server.Done():
		return fmt.Errorf("the engine ended by itself: see its log")
	case <-ctx.Done():
	}
	deadline, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	return server.Stop(deadline)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "netview-clickhouse:", err)
	os.Exit(1)
}
