// Command benchreceiver measures the receiver against otlpreceiver with
// clickhouseexporter: the same requests, the same ClickHouse, in alternating
// runs, an acknowledgement after the insert in both. `make bench-receiver` builds
// what it needs and runs it. With --tls it measures the receiver that asks for
// client certificates against itself in the clear: `make bench-tls`.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/netview-project/netview/event"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// Ports of the collectors and the engine, on loopback.
const (
	otlp     = "127.0.0.1:14317"
	native   = "127.0.0.1:19900"
	httpPort = "127.0.0.1:18923"
)

const (
	sensors           = 50
	recordsPerRequest = 1000
)

// subject is a collector under test.
type subject struct {
	name, binary, config, table string
	tls                         *tls.Config // of the senders; nil in the clear
}

var ours = subject{name: "netview", table: "netview.snapshot_connections", config: `
receivers:
  netview:
    protocols: {grpc: {endpoint: ` + otlp + `}}
    clickhouse: {dsn: "${env:WRITER}", schema: {dsn: "${env:OWNER}"}}
exporters: {nop: {}}
service:
  pipelines: {logs: {receivers: [netview], exporters: [nop]}}
  telemetry: {metrics: {level: none}}
`}

// secure is netview's receiver with client certificates; the senders are a relay,
// for which every record's sensor is looked up. DIR is that of the certificates.
var secure = subject{name: "netview, mutual TLS", table: ours.table, config: `
receivers:
  netview:
    protocols:
      grpc:
        endpoint: ` + otlp + `
        tls: {cert_file: "${env:DIR}/server.crt", key_file: "${env:DIR}/server.key", client_ca_file: "${env:DIR}/ca.crt"}
    identity: {access_file: "${env:DIR}/access.yaml"}
    clickhouse: {dsn: "${env:WRITER}", schema: {dsn: "${env:OWNER}"}}
exporters: {nop: {}}
service:
  pipelines: {logs: {receivers: [netview], exporters: [nop]}}
  telemetry: {metrics: {level: none}}
`}

// certify makes the certificates, and how the senders use theirs.
func certify(dir string) error {
	for _, arguments := range [][]string{{"ca"}, {"server", "127.0.0.1"}, {"relay", "bench"}} {
		if out, err := exec.Command("deploy/certificates.sh", append([]string{dir}, arguments...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("certificates.sh: %w: %s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "access.yaml"), []byte("relays: {\"netview://relay/bench\": [\"host-*\", warm-up]}\n"), 0o600); err != nil {
		return err
	}
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "relay-bench.crt"), filepath.Join(dir, "relay-bench.key"))
	if err != nil {
		return err
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	secure.tls = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}}
	return os.Setenv("DIR", dir)
}

// peer acknowledges after the insert (wait_for_result), with the settings under
// which it was fastest.
var peer = subject{name: "otlp + clickhouseexporter", table: "netview.otel_logs", config: `
receivers:
  otlp: {protocols: {grpc: {endpoint: ` + otlp + `}}}
exporters:
  clickhouse:
    endpoint: ${env:OWNER}
    database: netview
    ttl: 72h
    timeout: 60s
    sending_queue:
      wait_for_result: true
      num_consumers: 4
      queue_size: 1000000
      sizer: items
      batch: {flush_timeout: 200ms, min_size: 20000, max_size: 100000}
service:
  pipelines: {logs: {receivers: [otlp], exporters: [clickhouse]}}
  telemetry: {metrics: {level: none}}
`}

// result of one run.
type result struct {
	rate, collectorCPU, engineCPU float64 // rows/s, CPU seconds per million rows
	rss                           float64 // MiB, peak of the collector
	p50, p99                      time.Duration
	bytes                         float64 // per row, merged
}

func main() {
	app := kingpin.New("benchreceiver", "The receiver against its peer.")
	library := app.Flag("library", "libchdb.so").Required().String()
	bin := app.Flag("bin", "Folder of netview's programs.").Default("bin").String()
	app.Flag("peer", "The peer's collector.").StringVar(&peer.binary)
	withTLS := app.Flag("tls", "Measure mutual TLS against none.").Bool()
	requests := app.Flag("requests", "Requests of 1,000 records in one run.").Default("500").Int()
	inFlight := app.Flag("in-flight", "Requests in flight.").Default("160").Int()
	runs := app.Flag("runs", "Runs of each.").Default("5").Int()
	kingpin.MustParse(app.Parse(os.Args[1:]))
	ours.binary = filepath.Join(*bin, "netview-collector")
	pair := [2]subject{ours, peer}
	if *withTLS {
		dir, err := os.MkdirTemp("", "netview-bench-tls-")
		if err == nil {
			defer os.RemoveAll(dir)
			err = certify(dir)
		}
		app.FatalIfError(err, "certificates")
		secure.binary = ours.binary
		pair = [2]subject{secure, ours}
	}

	load := makeLoad(*requests)
	fmt.Printf("%d requests of %d records, %d bytes a record, %d in flight, %d sensors\n", len(load), recordsPerRequest, len(load[0])/recordsPerRequest, *inFlight, sensors)
	results := map[string][]result{}
	for range *runs {
		for _, s := range pair {
			r, err := measure(s, *library, *bin, load, *inFlight)
			if err != nil {
				fmt.Fprintf(os.Stderr, "benchreceiver: %s: %v\n", s.name, err)
				os.Exit(1)
			}
			fmt.Printf("  %-26s %.0f rows/s\n", s.name, r.rate)
			results[s.name] = append(results[s.name], r)
		}
	}
	report(results, pair)
}

// report prints medians and ratios.
func report(results map[string][]result, pair [2]subject) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nmedian\t%s\t%s\tratio\n", pair[0].name, pair[1].name)
	row := func(name, format string, of func(result) float64) {
		a, b := median(results[pair[0].name], of), median(results[pair[1].name], of)
		fmt.Fprintf(w, "%s\t"+format+"\t"+format+"\t%.2f\n", name, a, b, a/b)
	}
	row("rows/s", "%.0f", func(r result) float64 { return r.rate })
	row("collector CPU-s per million", "%.1f", func(r result) float64 { return r.collectorCPU })
	row("ClickHouse CPU-s per million", "%.1f", func(r result) float64 { return r.engineCPU })
	row("collector peak RSS, MiB", "%.0f", func(r result) float64 { return r.rss })
	row("ack p50, s", "%.2f", func(r result) float64 { return r.p50.Seconds() })
	row("ack p99, s", "%.2f", func(r result) float64 { return r.p99.Seconds() })
	row("bytes per row on disk", "%.1f", func(r result) float64 { return r.bytes })
	w.Flush()
}

func median(results []result, of func(result) float64) float64 {
	var values []float64
	for _, r := range results {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// makeLoad encodes the requests beforehand, so that the generator costs the same
// for both and little.
func makeLoad(requests int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	load := make([][]byte, requests)
	sessions := make([]uuid.UUID, sensors)
	connections := make([][]*event.Connection, sensors)
	for i := range sensors {
		sessions[i] = uuid.New()
		for range recordsPerRequest {
			connections[i] = append(connections[i], randomConnection(random, i))
		}
	}
	for n := range load {
		i, heartbeat := n%sensors, n/sensors+1
		at := start.Add(time.Duration(heartbeat) * 15 * time.Second)
		events := make([]event.Event, recordsPerRequest)
		for j, c := range connections[i] {
			row := *c
			row.Resource = event.Resource{SensorID: fmt.Sprintf("host-%02d", i), Session: sessions[i], HostName: fmt.Sprintf("host-%02d.example", i),
				HostID: "0f1e2d3c4b5a69788796a5b4c3d2e1f0", Arch: "amd64", KernelRelease: "6.18.0", Version: "0.1.0"}
			row.Sequence, row.Timestamp, row.Heartbeat = uint64(heartbeat*(recordsPerRequest+1)+j), at, uint64(heartbeat)
			row.Duration = event.Some(row.Duration.Value + time.Duration(heartbeat)*15*time.Second)
			events[j] = &row
		}
		load[n], _ = (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode(events)) // it has no error to return
	}
	return load
}

func randomConnection(random *rand.Rand, sensor int) *event.Connection {
	programs := []string{"nginx", "postgres", "envoy", "java", "redis-server", "node", "python3.11", "sshd"}
	program := programs[random.IntN(len(programs))]
	return &event.Connection{Netns: 4026531840 + uint64(random.IntN(8)), Family: "ipv4",
		LocalAddress: netip.AddrFrom4([4]byte{10, 0, byte(sensor), 1}), LocalPort: uint16(1024 + random.IntN(60000)),
		RemoteAddress: netip.AddrFrom4([4]byte{10, byte(random.IntN(256)), byte(random.IntN(256)), byte(random.IntN(256))}), RemotePort: uint16([]int{80, 443, 5432, 6379}[random.IntN(4)]),
		State: "established", Direction: "outbound", DirectionSource: "listening_port", Inode: uint64(random.IntN(1 << 30)),
		Process:  event.Process{PID: event.Some(uint32(random.IntN(1 << 22))), Binary: "/usr/bin/" + program, Name: program, User: "www-data", ContainerID: fmt.Sprintf("%064x", random.IntN(20))},
		Duration: event.Some(time.Duration(random.IntN(1_000_000)) * time.Millisecond), DurationSource: "first_seen"}
}

// measure runs the load through one collector into a fresh engine.
func measure(s subject, library, bin string, load [][]byte, inFlight int) (r result, err error) {
	dir, err := os.MkdirTemp("", "netview-bench-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	executable, err := filepath.Abs(filepath.Join(bin, "netview-clickhouse"))
	if err != nil {
		return r, err
	}
	ch, err := engine.Start(context.Background(), engine.Options{Executable: executable, Library: library, DataDir: filepath.Join(dir, "data"), TCPAddress: native, HTTPAddress: httpPort})
	if err != nil {
		return r, err
	}
	defer ch.Kill()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(s.config), 0o600); err != nil {
		return r, err
	}
	collector := exec.Command(s.binary, "--config", config)
	collector.Env = append(os.Environ(), "OWNER="+ch.DSN(engine.Owner), "WRITER="+ch.DSN(engine.Writer))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return r, err
	}
	defer log.Close()
	collector.Stdout, collector.Stderr = log, log
	collector.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := collector.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = collector.Process.Kill()
		_ = collector.Wait()
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			err = fmt.Errorf("%w\n%s", err, text[max(0, len(text)-2000):])
		}
	}()
	conns, closeAll, err := dial(s.tls)
	if err != nil {
		return r, err
	}
	defer closeAll()
	// One record of its own session, until it is taken: both are ready then.
	warmUp := makeWarmUp()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = send(conns[0], warmUp); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return r, err
		}
	}

	before := [2]float64{cpu(collector.Process.Pid), cpu(ch.PID())}
	began := time.Now()
	latencies, err := sendAll(conns, load, inFlight)
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	millions := float64(len(load)*recordsPerRequest) / 1e6
	r = result{rate: millions * 1e6 / took.Seconds(), collectorCPU: (cpu(collector.Process.Pid) - before[0]) / millions, engineCPU: (cpu(ch.PID()) - before[1]) / millions,
		rss: peakRSS(collector.Process.Pid), p50: latencies[len(latencies)/2], p99: latencies[len(latencies)*99/100]}

	conn, err := clickhouse.Open(ch.DSN(engine.Owner))
	if err != nil {
		return r, err
	}
	defer conn.Close()
	var rows uint64
	if err := conn.QueryRow(context.Background(), "SELECT count() FROM "+s.table).Scan(&rows); err != nil {
		return r, err
	}
	if want := uint64(len(load)*recordsPerRequest + 1); rows != want {
		return r, fmt.Errorf("%d rows are stored, want %d", rows, want)
	}
	if err := conn.Exec(context.Background(), "OPTIMIZE TABLE "+s.table+" FINAL"); err != nil {
		return r, err
	}
	database, table, _ := strings.Cut(s.table, ".")
	err = conn.QueryRow(context.Background(), "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND database = ? AND table = ?", database, table).Scan(&r.bytes)
	return r, err
}

func makeWarmUp() []byte {
	c := randomConnection(rand.New(rand.NewPCG(3, 4)), 0)
	c.Resource = event.Resource{SensorID: "warm-up", Session: uuid.New()}
	c.Sequence, c.Timestamp, c.Heartbeat = 1, time.Now().UTC(), 1
	body, _ := (&plog.ProtoMarshaler{}).MarshalLogs(event.Encode([]event.Event{c})) // it has no error to return
	return body
}

// raw sends bytes as they are.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}
func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func dial(config *tls.Config) (conns []*grpc.ClientConn, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	for range 8 {
		c, err := grpc.NewClient(otlp, grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})))
		if err != nil {
			return conns, closeAll, err
		}
		conns = append(conns, c)
	}
	return conns, closeAll, nil
}

func send(conn *grpc.ClientConn, body []byte) error {
	var answer []byte
	if err := conn.Invoke(context.Background(), "/opentelemetry.proto.collector.logs.v1.LogsService/Export", body, &answer); err != nil {
		return err
	}
	if len(answer) > 2 { // an empty partial_success is two bytes
		return fmt.Errorf("partial success: %q", answer)
	}
	return nil
}

// sendAll returns the sorted times to the acknowledgements.
func sendAll(conns []*grpc.ClientConn, load [][]byte, inFlight int) ([]time.Duration, error) {
	latencies := make([]time.Duration, len(load))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var sending sync.WaitGroup
	for w := range inFlight {
		sending.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(load)) && failed.Load() == nil; n = next.Add(1) - 1 {
				began := time.Now()
				if err := send(conns[w%len(conns)], load[n]); err != nil {
					failed.Store(&err)
				}
				latencies[n] = time.Since(began)
			}
		})
	}
	sending.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	slices.SortFunc(latencies, cmp.Compare)
	return latencies, nil
}

// cpu is what a process has used, in seconds.
func cpu(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	const ticks = 100 // of a second: USER_HZ, the same on every Linux that Go runs on
	return (user + system) / ticks
}

// peakRSS in MiB.
func peakRSS(pid int) float64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	kib, _ := strconv.ParseFloat(strings.Fields(after)[0], 64)
	return kib / 1024
}
