package probe

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
	"github.com/netview-project/netview/sensor/bpf"
)

// pair of programs for packets, which can be attached and detached.
type pair struct {
	egress, ingress *ebpf.Program
	root            string
}

func (p *pair) attach(b *testing.B) (detach func()) {
	b.Helper()
	var links []link.Link
	for kind, program := range map[ebpf.AttachType]*ebpf.Program{ebpf.AttachCGroupInetEgress: p.egress, ebpf.AttachCGroupInetIngress: p.ingress} {
		l, err := link.AttachCgroup(link.CgroupOptions{Path: p.root, Attach: kind, Program: program})
		if err != nil {
			b.Fatal(err)
		}
		links = append(links, l)
	}
	return func() {
		for _, l := range links {
			l.Close()
		}
	}
}

// run counts runs of a program, and their time.
func run(b *testing.B, p *ebpf.Program) (runs uint64, lasted time.Duration) {
	b.Helper()
	stats, err := p.Stats()
	if err != nil {
		b.Fatal(err)
	}
	return stats.RunCount, stats.Runtime
}

// pairs are the sensor's programs, and such as do nothing: what these cost is the
// price of the hooks.
func pairs(b *testing.B) (sensor, empty *pair) {
	b.Helper()
	root, done, err := cgroupRoot()
	if err != nil {
		b.Skipf("no packets here: %v", err)
	}
	b.Cleanup(done)
	spec, err := bpf.LoadDNS()
	if err != nil {
		b.Fatal(err)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		b.Skipf("no packets here: %v", err)
	}
	b.Cleanup(c.Close)
	reader, err := ringbuf.NewReader(c.Maps["events"])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { reader.Close() })
	go func() { // a ring buffer that nobody empties costs a wakeup for each record
		for record := (ringbuf.Record{}); reader.ReadInto(&record) == nil; {
		}
	}()
	sensor = &pair{c.Programs["packet_sent"], c.Programs["packet_received"], root}
	empty = &pair{root: root}
	for kind, program := range map[ebpf.AttachType]**ebpf.Program{ebpf.AttachCGroupInetEgress: &empty.egress, ebpf.AttachCGroupInetIngress: &empty.ingress} {
		if *program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: kind, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}}); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { (*program).Close() })
	}
	return sensor, empty
}

// datagrams sends some of 64 bytes to itself, one after the other.
func datagrams(n int, client, server int, to unix.Sockaddr) error {
	data := make([]byte, 64)
	for range n {
		if err := unix.Sendto(client, data, 0, to); err != nil {
			return err
		}
		if _, _, err := datagram(server, data); err != nil {
			return err
		}
	}
	return nil
}

// bulk sends bytes through a connection, as fast as they are received.
func bulk(n int, client, server int) error {
	written := make(chan error, 1)
	go func() {
		data := make([]byte, 128<<10)
		for left := n; left > 0; {
			sent, err := waiting(func() (int, error) { return unix.Write(client, data[:min(left, len(data))]) })
			if err != nil {
				written <- err
				return
			}
			left -= sent
		}
		written <- nil
	}()
	data := make([]byte, 128<<10)
	for left := n; left > 0; {
		n, err := read(server, data)
		if err != nil || n == 0 {
			return errors.Join(fmt.Errorf("%d bytes are missing", left), err)
		}
		left -= n
	}
	return <-written
}

// cost of some work: time, and CPU of this process, which others that keep the
// machine busy do not lengthen.
type cost struct{ wall, cpu float64 }

// costOf work, in seconds.
func costOf(work func() error) (c cost, err error) {
	cpu := func() float64 {
		var usage unix.Rusage
		err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &usage))
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	before, began := cpu(), time.Now()
	err = errors.Join(err, work())
	c.wall = time.Since(began).Seconds()
	c.cpu = cpu() - before
	return c, err
}

// BenchmarkPackets is what packets cost that are not of DNS, over loopback: each
// round does the same without programs, with empty ones, and with the sensor's, and
// the medians of the ratios of speed are reported, by time and by CPU; then the
// kernel's own count of the time in each program.
func BenchmarkPackets(b *testing.B) {
	ns := testns.New(b)
	sensor, empty := pairs(b)
	for _, v6 := range []bool{false, true} {
		name, address, dns := "IPv4", local4(9999), local4(53)
		if v6 {
			name, address, dns = "IPv6", local6(9999), local6(53)
		}
		k := &talk{cookies: map[uint64]bool{}}
		b.Cleanup(k.close)
		var client, server, asked, udp, sink int
		ns.Do(b, func() (err error) {
			if client, server, err = k.connect(address); err != nil {
				return err
			}
			if sink, err = k.bound(unix.SOCK_DGRAM, address); err != nil {
				return err
			}
			if asked, err = k.bound(unix.SOCK_DGRAM, dns); err != nil {
				return err
			}
			udp, err = k.client(familyOf(address), unix.SOCK_DGRAM, nil)
			return err
		})
		for traffic, send := range map[string]func() error{
			"64-byte UDP": func() error { return datagrams(20_000, udp, sink, address) },
			"bulk TCP":    func() error { return bulk(128<<20, client, server) },
		} {
			b.Run(traffic+"/"+name, func(b *testing.B) {
				with := func(p *pair) cost {
					if p != nil {
						defer p.attach(b)()
					}
					c, err := costOf(send)
					if err != nil {
						b.Fatal(err)
					}
					return c
				}
				ratios := map[string][]float64{}
				for b.Loop() {
					off, floor, on := with(nil), with(empty), with(sensor)
					for name, pair := range map[string][2]cost{"empty/off": {off, floor}, "on/off": {off, on}, "on/empty": {floor, on}} {
						ratios[name] = append(ratios[name], pair[0].wall/pair[1].wall)
						ratios[name+"-cpu"] = append(ratios[name+"-cpu"], pair[0].cpu/pair[1].cpu)
					}
				}
				for name, list := range ratios {
					b.ReportMetric(median(list), name)
				}
				counted, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
				if err != nil {
					b.Fatal(err)
				}
				defer counted.Close()
				for of, p := range map[string]*pair{"empty": empty, "sensor": sensor} {
					for way, program := range map[string]*ebpf.Program{"egress": p.egress, "ingress": p.ingress} {
						b.ReportMetric(perRun(b, p, program, send), "ns/"+of+"-"+way)
					}
				}
			})
		}
		b.Run("told/"+name, func(b *testing.B) {
			counted, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
			if err != nil {
				b.Fatal(err)
			}
			defer counted.Close()
			for b.Loop() {
			}
			b.ReportMetric(perRun(b, sensor, sensor.egress, func() error { return datagrams(10_000, udp, asked, dns) }), "ns/sensor-egress")
		})
	}
}

// perRun is the time of a run of a program in some traffic, in ns.
func perRun(b *testing.B, p *pair, program *ebpf.Program, send func() error) float64 {
	b.Helper()
	defer p.attach(b)()
	before, lasted := run(b, program)
	if err := send(); err != nil {
		b.Fatal(err)
	}
	after, longer := run(b, program)
	return float64((longer - lasted).Nanoseconds()) / float64(after-before)
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
