// Command benchkernel measures what the sensor's programs in the kernel cost, and
// what they lose: connections over loopback in a namespace of its own, made by one
// thread on one core, with the built sensor on the other; and questions to dnsmasq in
// their place. `make bench-kernel` and `make bench-dns` run it. It needs root and two
// cores.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"golang.org/x/sys/unix"
)

// Cores of the connections, and of those who watch them.
const (
	churnCore   = 1
	watcherCore = 0
)

type bench struct {
	bin, state string
	rounds     int
	round      time.Duration
	sink       *sink
}

func main() {
	app := kingpin.New("benchkernel", "What eBPF costs: connections with the sensor off and on.")
	var b bench
	bench := app.Command("bench", "Measure.").Default()
	churn := app.Command("churn", "Make connections, for the other command.").Hidden()
	questions := app.Command("questions", "Ask dnsmasq, for the other command.").Hidden()
	bench.Flag("bin", "Directory of netview's programs.").Default("bin").StringVar(&b.bin)
	bench.Flag("rounds", "Alternating rounds.").Default("10").IntVar(&b.rounds)
	bench.Flag("round", "Length of a round.").Default("3s").DurationVar(&b.round)
	only := bench.Flag("only", "One part: churn, rates or memory.").Enum("churn", "rates", "memory")
	dns := bench.Flag("dns", "Questions in place of connections.").Bool()
	var err error
	switch kingpin.MustParse(app.Parse(os.Args[1:])) {
	case churn.FullCommand():
		err = serveChurn()
	case questions.FullCommand():
		err = serveQuestions()
	case bench.FullCommand():
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		kind := connections
		if *dns {
			kind = queries
		}
		err = b.run(ctx, &kind, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchkernel:", err)
		os.Exit(1)
	}
}

// kind of load.
type kind struct {
	name, one string
	// events that one makes, of which each is one record of the kernel's, or two.
	events, records int
	// late is how long after its cause an event may come.
	late     time.Duration
	start    func() (*load, error)
	subjects func(*bench) []subject
	rates    []int
	memory   bool
}

var (
	connections = kind{name: "Connections", one: "connection, both ends", events: 4, records: 1, late: 2 * time.Second, start: startChurn, subjects: (*bench).ofConnections,
		rates: []int{100, 1000, 2000, 5000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 0}, memory: true}
	queries = kind{name: "Questions to dnsmasq", one: "question with its answer", events: 1, records: 2, late: 7 * time.Second, start: startQuestions, subjects: (*bench).ofQueries,
		rates: []int{100, 1000, 5000, 10_000, 20_000, 0}}
)

func (b *bench) ofConnections() []subject {
	subjects := []subject{{"off", nil}, {"empty programs", startEmpty}, {"netview", b.startSensor}}
	if tcplifeThere() {
		return append(subjects, subject{"bpftrace tcplife", startTcplife})
	}
	fmt.Println("bpftrace is not installed: there is no peer (apt-get install bpftrace)")
	return subjects
}

func (b *bench) ofQueries() []subject { return []subject{{"off", nil}, {"netview", b.startSensor}} }

func (b *bench) run(ctx context.Context, k *kind, only string) (err error) {
	if os.Geteuid() != 0 || runtime.NumCPU() < 2 {
		return errors.New("it needs root and two cores")
	}
	if b.state, err = os.MkdirTemp("", "benchkernel-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.state)
	if b.sink, err = newSink(); err != nil {
		return err
	}
	defer b.sink.Close()
	// What this program does besides has the core of the watchers.
	if err := pinAll(watcherCore); err != nil {
		return err
	}
	l, err := k.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	b.sink.netns.Store(l.netns)
	for _, part := range []struct {
		name string
		run  func(context.Context, *kind, *load) error
	}{{"churn", b.compare}, {"rates", b.rates}, {"memory", b.memory}} {
		if only == "" || only == part.name {
			if err := part.run(ctx, k, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// subject watches the connections, or nobody does.
type subject struct {
	name  string
	start func(context.Context) (watcher, error)
}

// watcher is what runs beside the connections.
type watcher interface {
	// cpu it has used so far.
	cpu() time.Duration
	stop() error
}

type nobody struct{}

func (nobody) cpu() time.Duration { return 0 }
func (nobody) stop() error        { return nil }

// compare makes as many as the core can, in alternating rounds.
func (b *bench) compare(ctx context.Context, k *kind, l *load) error {
	subjects := k.subjects(b)
	type figures struct{ rate, each, machine, watcher []float64 }
	of := map[string]*figures{}
	for _, s := range subjects {
		of[s.name] = &figures{}
	}
	for round := range b.rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)] // each is the first as often
			var w watcher = nobody{}
			if s.start != nil {
				var err error
				if w, err = s.start(ctx); err != nil {
					return fmt.Errorf("starting %s: %w", s.name, err)
				}
			}
			busy, before := machineCPU(), w.cpu()
			r, err := l.run(b.round, 0)
			time.Sleep(200 * time.Millisecond) // what is delivered late belongs to it
			busy, used := machineCPU()-busy, w.cpu()-before
			if err := errors.Join(err, w.stop()); err != nil {
				return err
			}
			f := of[s.name]
			f.rate, f.each = append(f.rate, r.rate()), append(f.each, r.each())
			f.machine, f.watcher = append(f.machine, busy.Seconds()/r.Took.Seconds()), append(f.watcher, used.Seconds()/r.Took.Seconds())
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, b.rounds)
	}
	inKernel, err := b.timePrograms(ctx, l)
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s as fast as one core makes them, %d alternating rounds of %v, medians:\n", k.name, b.rounds, b.round)
	fmt.Fprintln(out, "\tper second\tof off\tns of CPU each\toff's to it\tcores in all\tof the watcher")
	off := of["off"]
	for _, s := range subjects {
		f := of[s.name]
		fmt.Fprintf(out, "%s\t%.0f\t%.3f\t%.0f\t%.3f\t%.2f\t%.2f\n", s.name, median(f.rate), median(ratios(f.rate, off.rate)), median(f.each), median(ratios(off.each, f.each)), median(f.machine), median(f.watcher))
	}
	fmt.Fprintf(out, "netview's programs in the kernel: %.0f ns for each %s\n\n", inKernel, k.one)
	return out.Flush()
}

func ratios(a, b []float64) (list []float64) {
	for i := range a {
		list = append(list, a[i]/b[i])
	}
	return list
}

// timePrograms are the nanoseconds that netview's programs take for one.
// It is a round of its own, since the kernel's clock for programs costs too.
func (b *bench) timePrograms(ctx context.Context, l *load) (each float64, err error) {
	w, err := b.startSensor(ctx)
	if err != nil {
		return 0, err
	}
	took, undo, err := programTimes()
	if err != nil {
		return 0, errors.Join(err, w.stop())
	}
	r, err := l.run(b.round, 0)
	each = float64(took().Nanoseconds()) / float64(r.Count)
	undo()
	return each, errors.Join(err, w.stop())
}

// rates offers them at fixed rates, and counts what comes of them.
func (b *bench) rates(ctx context.Context, k *kind, l *load) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "%s per second, %v each; events: %d for each:\n\toffered\tmade\tevents made\tdelivered\tunanswered, unfinished\trecords lost\tsensor's CPU, cores\tper 1,000/s\n", k.name, 2*b.round, k.events)
	for _, rate := range k.rates {
		w, err := b.startSensor(ctx)
		if err != nil {
			return err
		}
		s := w.(*sensor)
		delivered, unanswered, unfinished, before := b.sink.records.Load(), b.sink.unanswered.Load(), b.sink.unfinished.Load(), w.cpu()
		r, err := l.run(2*b.round, rate)
		if err != nil {
			return errors.Join(err, w.stop())
		}
		time.Sleep(k.late)
		used := w.cpu() - before
		lost, causes, err := s.lost()
		if err := errors.Join(err, w.stop()); err != nil {
			return err
		}
		got := b.sink.records.Load() - delivered
		offered := fmt.Sprint(rate)
		if rate == 0 {
			offered = "all"
		}
		cores := used.Seconds() / r.Took.Seconds()
		made := uint64(k.events * r.Count)
		fmt.Fprintf(out, "\t%s\t%.0f\t%d\t%d\t%d, %d\t%d%s\t%.3f\t%.4f\n", offered, r.rate(), made, got, b.sink.unanswered.Load()-unanswered, b.sink.unfinished.Load()-unfinished, lost, causes, cores, cores/r.rate()*1000)
		switch {
		case got+lost < made:
			fmt.Fprintf(out, "\t\t\t\t\t%d are missing, and not counted\n", made-got-lost)
		case got+lost > made && k.records == 1:
			fmt.Fprintf(out, "\t\t\t\t\t%d more lost than missing: of others on this host, or an error\n", got+lost-made)
		}
	}
	fmt.Fprintln(out)
	return out.Flush()
}

// heldByOne is how many connections a process holds at most: two descriptors for
// each, below a common limit.
const heldByOne = 4500

// memory holds connections, and looks at the sensor.
func (b *bench) memory(ctx context.Context, k *kind, _ *load) error {
	if !k.memory {
		return nil
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(out, "Memory of the sensor, in steady state, with both ends of each connection:\n\tflows\tRSS, MB\tcollecting a heartbeat, ms\n")
	for _, flows := range []int{0, 10_000, 100_000} {
		rss, collecting, err := b.holding(ctx, flows)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\t%d\t%.0f\t%.0f\n", flows, rss/1e6, collecting*1e3)
	}
	return out.Flush()
}

// holding is the sensor's memory, in bytes, and the time of a heartbeat, in
// seconds, while there are so many flows.
func (b *bench) holding(ctx context.Context, flows int) (rss, collecting float64, err error) {
	w, err := b.startSensor(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	for left := flows / 2; left > 0; left -= heldByOne {
		holder, err := startChurn()
		if err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, holder.stop()) }()
		if err := holder.hold(min(left, heldByOne)); err != nil {
			return 0, 0, err
		}
	}
	s := w.(*sensor)
	if err := s.settle(flows); err != nil {
		return 0, 0, err
	}
	rss, err = s.gauge("process_resident_memory_bytes")
	if err != nil {
		return 0, 0, err
	}
	collecting, err = s.gauge("netview_heartbeat_duration_seconds")
	return rss, collecting, err
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// pinAll moves every thread of this program to a core; those made later follow.
func pinAll(core int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		var tid int
		if _, err := fmt.Sscan(thread.Name(), &tid); err != nil {
			return err
		}
		if err := pin(tid, core); err != nil && err != unix.ESRCH {
			return fmt.Errorf("moving thread %d to core %d: %w", tid, core, err)
		}
	}
	return nil
}

func pin(tid, core int) error {
	var set unix.CPUSet
	set.Set(core)
	return unix.SchedSetaffinity(tid, &set)
}
