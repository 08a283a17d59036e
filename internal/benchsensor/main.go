// Command benchsensor measures one heartbeat's collection, the sockets of a host
// and the processes they belong to, against ss and against a reader made with
// prometheus/procfs: the same sockets, the same processes, in alternating
// rounds. `make bench-sensor` runs it. It needs root, since everything happens
// in a network namespace of its own.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

// perRound is how often a reader collects in a round, which shows the mean.
// netview reads the identity of a process again at every fourth scan, so each
// round has its share of that.
const perRound = 4

// cost of one collection.
type cost struct{ Wall, CPU time.Duration }

// seen is what a reader found in the namespace, to know that all did the same.
type seen struct {
	Established, Listening int // TCP sockets
	Owned                  int // those of them with pid and name of a process
}

// result of one round.
type result struct {
	First cost // before anything is remembered or allocated
	Cost  cost // the mean of the later ones
	Seen  seen
	// Namespaces that were read: netview cannot but read all.
	Namespaces int
}

// subject is a reader under test.
type subject struct {
	name string
	run  func(context.Context) (result, error)
}

// subjects in the order of the columns; those that are compared to come after
// the first.
func subjects() []subject {
	all := []subject{{"netview", child("netview")}}
	if path, err := exec.LookPath("ss"); err == nil {
		all = append(all, subject{"ss -tunap", func(ctx context.Context) (result, error) { return runSS(ctx, path) }})
	} else {
		fmt.Println("ss is not installed (package iproute2): it is left out.")
	}
	return append(all, subject{"procfs", child("procfs")})
}

func main() {
	// The children, as which the program starts itself, and itself in the
	// namespace.
	arguments := os.Args[1:]
	mode := ""
	if len(arguments) > 0 && !strings.HasPrefix(arguments[0], "-") {
		mode, arguments = arguments[0], arguments[1:]
	}
	var err error
	switch mode {
	case "idle":
		err = idle()
	case "hold":
		err = hold(arguments[0])
	case "apart":
		err = apart()
	case "read":
		err = read(arguments[0])
	default:
		app := kingpin.New("benchsensor", "A heartbeat's collection against ss and prometheus/procfs.")
		rounds := app.Flag("rounds", "Rounds of each.").Default("5").Int()
		sockets := app.Flag("sockets", "TCP sockets; can be repeated.").Default("100", "1000", "10000").Ints()
		processes := app.Flag("processes", "Extra processes, of which 50 hold the sockets.").Default("500").Int()
		namespaces := app.Flag("namespaces", "Extra network namespaces with a listener each, which netview reads and the others do not.").Default("0").Int()
		kingpin.MustParse(app.Parse(arguments))
		if err = check(*rounds, *sockets, *processes); err == nil && mode != "inside" {
			err = enterNamespace()
		}
		if err == nil {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			err = measure(ctx, *rounds, *sockets, *processes, *namespaces)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			stop()
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchsensor: %v\n", err)
		os.Exit(1)
	}
}

func check(rounds int, sockets []int, processes int) error {
	if rounds < 1 {
		return fmt.Errorf("--rounds %d is out of range: at least 1", rounds)
	}
	if processes < holders {
		return fmt.Errorf("--processes %d is out of range: at least %d", processes, holders)
	}
	for _, n := range sockets {
		if n < holders || n%2 != 0 {
			return fmt.Errorf("--sockets %d: must be even and at least %d", n, holders)
		}
	}
	return nil
}

// enterNamespace begins the program anew in a network namespace of its own, in
// which then all children are. The namespace ends with the last of them.
func enterNamespace() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the thread that calls execve gives its namespace to the program
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("making a network namespace: %w (it takes root)", err)
	}
	err = syscall.Exec(self, slices.Concat([]string{self, "inside"}, os.Args[1:]), os.Environ())
	return fmt.Errorf("starting %s again: %w", self, err)
}

func measure(ctx context.Context, rounds int, sockets []int, processes, namespaces int) error {
	if err := testns.LoopbackUp(); err != nil {
		return err
	}
	all := subjects()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	header(w, all)
	idle, err := start(ctx, processes-holders, 0, func(int) []string { return []string{"idle"} })
	defer idle.stop()
	if err != nil {
		return fmt.Errorf("starting the idle processes: %w", err)
	}
	others, err := start(ctx, namespaces, unix.CLONE_NEWNET, func(int) []string { return []string{"apart"} })
	defer others.stop()
	if err != nil {
		return fmt.Errorf("starting processes in namespaces of their own: %w", err)
	}
	for _, n := range sockets {
		results, err := measureAt(ctx, all, rounds, n)
		if err != nil {
			return fmt.Errorf("%d sockets: %w", n, err)
		}
		report(w, n, all, results)
	}
	fmt.Println()
	return w.Flush()
}

// measureAt runs the rounds at one number of sockets.
func measureAt(ctx context.Context, all []subject, rounds, n int) (map[string][]result, error) {
	connections := (n - holders) / 2
	want := seen{Established: 2 * connections, Listening: holders, Owned: n}
	crowd, err := start(ctx, holders, 0, func(i int) []string { return []string{"hold", fmt.Sprint(share(connections, i))} })
	defer crowd.stop()
	if err != nil {
		return nil, fmt.Errorf("opening them: %w", err)
	}
	processes, threads, err := count()
	if err != nil {
		return nil, err
	}
	fmt.Printf("%d TCP sockets: %d established, %d listening; the host has %d processes, %d threads\n", n, want.Established, want.Listening, processes, threads)
	results := map[string][]result{}
	for range rounds {
		for _, s := range all {
			r, err := s.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if r.Seen != want {
				return nil, fmt.Errorf("%s saw other sockets than were made: %+v, want %+v", s.name, r.Seen, want)
			}
			fmt.Printf("  %-10s wall %7.2f ms  CPU %7.2f ms  namespaces %d\n", s.name, ms(r.Cost.Wall), ms(r.Cost.CPU), r.Namespaces)
			results[s.name] = append(results[s.name], r)
		}
	}
	return results, nil
}

func header(w *tabwriter.Writer, all []subject) {
	fmt.Fprint(w, "median (min–max)")
	for _, s := range all {
		fmt.Fprintf(w, "\t%s", s.name)
	}
	for _, peer := range all[1:] {
		fmt.Fprintf(w, "\t%s/%s", all[0].name, peer.name)
	}
	fmt.Fprintln(w)
}

// report adds the rows of one number of sockets.
func report(w *tabwriter.Writer, n int, all []subject, results map[string][]result) {
	row := func(name string, columns []subject, of func(result) time.Duration) {
		fmt.Fprintf(w, "%d sockets: %s, ms", n, name)
		var medians []float64
		for _, s := range columns {
			least, median, most := spread(results[s.name], of)
			fmt.Fprintf(w, "\t%.1f (%.1f–%.1f)", median, least, most)
			medians = append(medians, median)
		}
		fmt.Fprint(w, strings.Repeat("\t", len(all)-len(columns))) // keeps the columns aligned
		for _, peer := range medians[1:] {
			fmt.Fprintf(w, "\t%.2f", medians[0]/peer)
		}
		fmt.Fprint(w, strings.Repeat("\t", len(all)-len(columns)), "\n")
	}
	row("wall", all, func(r result) time.Duration { return r.Cost.Wall })
	row("CPU", all, func(r result) time.Duration { return r.Cost.CPU })
	row("first wall", all[:1], func(r result) time.Duration { return r.First.Wall })
	row("first CPU", all[:1], func(r result) time.Duration { return r.First.CPU })
}

// spread in milliseconds.
func spread(results []result, of func(result) time.Duration) (least, median, most float64) {
	var values []float64
	for _, r := range results {
		values = append(values, ms(of(r)))
	}
	slices.Sort(values)
	return values[0], values[len(values)/2], values[len(values)-1]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// child runs a reader in a process of its own.
func child(name string) func(context.Context) (result, error) {
	return func(ctx context.Context) (r result, err error) {
		cmd := exec.CommandContext(ctx, os.Args[0], "read", name)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return r, err
		}
		return r, json.Unmarshal(out, &r)
	}
}
