package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/probe/kernelfs"
)

// program is a watcher that is another process.
type program struct{ command *exec.Cmd }

func start(name string, arguments ...string) (*program, *bytes.Buffer, error) {
	p := &program{exec.Command(name, arguments...)}
	said := new(bytes.Buffer)
	p.command.Stderr = said
	if err := p.command.Start(); err != nil {
		return nil, nil, err
	}
	return p, said, nil // it has the cores of the thread that started it
}

func (p *program) cpu() time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	var user, system int64
	fields := strings.Fields(string(rest))
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (p *program) stop() error {
	if err := p.command.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	err := p.command.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return nil // by our signal, in its own way
	}
	return err
}

// sensor is netview's, with a spool, delivering to the sink.
type sensor struct {
	*program
	address string
}

func (b *bench) startSensor(ctx context.Context) (watcher, error) {
	spool, err := os.MkdirTemp(b.state, "spool-")
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sensor{address: listener.Addr().String()}
	listener.Close()
	var said *bytes.Buffer
	s.program, said, err = start(filepath.Join(b.bin, "netview-sensor"), "--sensor-id", "bench", "--heartbeat.interval", "5s",
		"--otlp.endpoint", "http://"+b.sink.address, "--spool.directory", spool, "--web.listen-address", s.address)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if families, err := s.metrics(); err == nil && families["netview_events_total"] != nil {
			return s, nil
		}
	}
	_ = s.stop()
	return nil, fmt.Errorf("the sensor has no events: %s", said)
}

func (s *sensor) metrics() (map[string]*dto.MetricFamily, error) {
	answer, err := http.Get("http://" + s.address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

func (s *sensor) gauge(name string) (sum float64, err error) {
	families, err := s.metrics()
	if err != nil {
		return 0, err
	}
	if families[name] == nil {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	for _, m := range families[name].GetMetric() {
		sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	return sum, nil
}

// lost counts the sensor's losses, of all causes but what it may not read, and says
// which there are.
func (s *sensor) lost() (n uint64, causes string, err error) {
	families, err := s.metrics()
	if err != nil {
		return 0, "", err
	}
	for _, m := range families["netview_losses_total"].GetMetric() {
		for _, l := range m.GetLabel() {
			lost := uint64(m.GetCounter().GetValue())
			if l.GetName() == "cause" && lost > 0 && !strings.HasSuffix(l.GetValue(), "_denied") && !strings.HasSuffix(l.GetValue(), "_gone") {
				n, causes = n+lost, causes+" "+l.GetValue()
			}
		}
	}
	return n, causes, nil
}

// settle waits until a heartbeat shows the flows, and three more have passed.
func (s *sensor) settle(flows int) error {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if n, err := s.gauge("netview_flows"); err == nil && n >= float64(flows) {
			time.Sleep(16 * time.Second)
			return nil
		}
	}
	return fmt.Errorf("no heartbeat shows %d flows", flows)
}

// empty are programs that do nothing, on the hooks that this kernel gives the
// sensor: the floor of what any watcher of connect, accept and close costs.
type empty struct {
	nobody
	attached []io.Closer
}

func startEmpty(context.Context) (watcher, error) {
	e := &empty{}
	add := func(spec *ebpf.ProgramSpec, attach func(*ebpf.Program) (io.Closer, error)) error {
		spec.Instructions, spec.License = asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, "GPL"
		program, err := ebpf.NewProgram(spec)
		if err != nil {
			return err
		}
		e.attached = append(e.attached, program)
		l, err := attach(program)
		if err == nil {
			e.attached = append(e.attached, l)
		}
		return err
	}
	dir, done, err := kernelfs.Tracefs()
	if err != nil {
		return nil, err
	}
	defer done()
	err = add(&ebpf.ProgramSpec{Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state"}, func(p *ebpf.Program) (io.Closer, error) {
		return link.AttachTracing(link.TracingOptions{Program: p})
	})
	for _, name := range []string{"sys_enter_connect", "sys_exit_connect", "sys_exit_accept4"} {
		err = errors.Join(err, add(&ebpf.ProgramSpec{Type: ebpf.TracePoint}, func(p *ebpf.Program) (io.Closer, error) {
			return kernelfs.AttachTracepoint(dir, "syscalls", name, p)
		}))
	}
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *empty) stop() (err error) {
	for _, c := range e.attached {
		err = errors.Join(err, c.Close())
	}
	return err
}

// tcplife prints a line for each connection that ends, as bcc's tool of that name
// does, but for the bytes, which the tracepoint's record does not have.
const tcplife = `
tracepoint:sock:inet_sock_set_state /args->protocol == 6/ {
	$sk = args->skaddr;
	if (args->newstate < 4) { @birth[$sk] = nsecs; @pid[$sk] = pid; @comm[$sk] = comm; }
	if (args->newstate == 7 && @birth[$sk]) {
		printf("%d %s %s %d %s %d %d\n", @pid[$sk], @comm[$sk], ntop(args->saddr), args->sport, ntop(args->daddr), args->dport, (nsecs - @birth[$sk]) / 1000);
		delete(@birth[$sk]); delete(@pid[$sk]); delete(@comm[$sk]);
	}
}
END { clear(@birth); clear(@pid); clear(@comm); }`

func tcplifeThere() bool {
	_, err := exec.LookPath("bpftrace")
	return err == nil
}

// startTcplife runs it with a mount of tracefs that nobody else sees.
func startTcplife(context.Context) (watcher, error) {
	p, _, err := start("unshare", "-m", "sh", "-c", "mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e '"+tcplife+"' >/dev/null")
	if err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second) // it does not say when it is ready
	return p, nil
}

// programTimes counts the time that programs take in the kernel, from now on.
func programTimes() (took func() time.Duration, undo func(), err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the kernel for times of programs: %w", err)
	}
	total := func() (sum time.Duration) {
		for id := ebpf.ProgramID(0); ; {
			if id, err = ebpf.ProgramGetNextID(id); err != nil {
				return sum
			}
			if p, err := ebpf.NewProgramFromID(id); err == nil {
				if s, err := p.Stats(); err == nil {
					sum += s.Runtime
				}
				p.Close()
			}
		}
	}
	before := total()
	return func() time.Duration { return total() - before }, func() { stats.Close() }, nil
}

// machineCPU is the time that all cores were busy.
func machineCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait, irq, softirq int64
	fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq)
	return time.Duration(user+nice+system+irq+softirq) * 10 * time.Millisecond
}
