package otelreceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/internal/metadata"
)

// netviewReceiver is the component: OTLP servers in front of one store.
type netviewReceiver struct {
	config    *Config
	settings  receiver.Settings
	telemetry *metadata.Telemetry
	next      consumer.Logs

	store   *clickhouse.Store
	grpc    *grpc.Server
	http    *http.Server
	gate    *gate
	stop    context.CancelFunc // of what looks at the access file
	serving sync.WaitGroup
	said    string // the last report of the store, "" for ready
}

func newReceiver(config *Config, settings receiver.Settings, next consumer.Logs) (*netviewReceiver, error) {
	telemetry, err := metadata.NewTelemetry(settings.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &netviewReceiver{config: config, settings: settings, telemetry: telemetry, next: next}, nil
}

var errConnecting = errors.New("connecting to ClickHouse")

// Start opens the listeners and begins to connect to ClickHouse. A ClickHouse
// that is away is no error: until it answers, senders are told to retry.
func (r *netviewReceiver) Start(ctx context.Context, host component.Host) error {
	startCounters(r.telemetry)
	if err := r.openGate(); err != nil {
		return err
	}
	// Without this the Collector would call a started component healthy.
	componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(errConnecting))
	store, err := clickhouse.Start(r.storeOptions(host))
	if err != nil {
		return errors.Join(err, r.Shutdown(ctx))
	}
	r.store = store
	in := &intake{store: store, telemetry: r.telemetry, budget: newBudget(r.config.MaxInFlightMiB<<20, r.config.largest()), maxSkew: r.config.MaxClockSkew,
		sensors: newSensors(r.config.MaxSensors, r.telemetry, r.settings.Logger)}
	if r.config.Forward {
		in.next = r.next
	}
	if err := errors.Join(r.serveGRPC(ctx, host, in), r.serveHTTP(ctx, host, in)); err != nil {
		return errors.Join(err, r.Shutdown(ctx))
	}
	return nil
}

// openGate reads who may send, and looks at it from then on.
func (r *netviewReceiver) openGate() error {
	r.gate = newGate(r.config.Identity.URIPrefix, r.telemetry, r.settings.Logger)
	allowed, err := readAccess(r.config.Identity.AccessFile)
	if err != nil {
		return err
	}
	r.gate.access.Store(allowed)
	for _, t := range r.config.trusts() {
		if !t.any() && !isLoopback(t.address) {
			r.settings.Logger.Warn("Whoever reaches this address may write as any sensor: ask for client certificates (tls::client_ca_file) or a token (auth)",
				zap.String("protocol", t.protocol), zap.String("endpoint", t.address.Endpoint))
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.serving.Go(func() { r.watchFiles(ctx) })
	return nil
}

func isLoopback(address confignet.AddrConfig) bool {
	host, _, err := net.SplitHostPort(address.Endpoint)
	return err != nil || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// gateOf is the gate of a protocol; nil where it does not ask for certificates.
func (r *netviewReceiver) gateOf(protocol string) *gate {
	for _, t := range r.config.trusts() {
		if t.protocol == protocol && t.certified {
			return r.gate
		}
	}
	return nil
}

func (r *netviewReceiver) storeOptions(host component.Host) clickhouse.Options {
	ch := &r.config.ClickHouse
	return clickhouse.Options{
		DSN: string(ch.DSN), SchemaDSN: string(ch.Schema.DSN), Database: ch.Database, ApplySchema: ch.Schema.Apply,
		Retention:      clickhouse.Retention(ch.Retention),
		CommitInterval: ch.CommitInterval, CommitTimeout: ch.CommitTimeout, MaxRows: ch.MaxCommitRows,
		Ready:     func(err error) { r.report(host, err) },
		Warn:      func(err error) { r.settings.Logger.Warn("The schema is not complete", zap.Error(err)) },
		Committed: r.committed,
	}
}

// report tells the Collector, and so its health check, whether records can be stored.
func (r *netviewReceiver) report(host component.Host, err error) {
	var newer *clickhouse.NewerSchemaError
	switch {
	case err == nil:
		r.settings.Logger.Info("ClickHouse is ready", zap.String("database", r.config.ClickHouse.Database))
		componentstatus.ReportStatus(host, componentstatus.NewEvent(componentstatus.StatusOK))
	case errors.As(err, &newer):
		r.settings.Logger.Error("Records are refused until the schema fits", zap.Error(err))
		componentstatus.ReportStatus(host, componentstatus.NewPermanentErrorEvent(err))
	default:
		// The store tries for as long as it takes: only news are worth a line.
		if r.said != err.Error() {
			r.settings.Logger.Warn("ClickHouse is not ready: nothing is accepted, senders are told to retry", zap.Error(err))
		}
		componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(err))
	}
	r.said = ""
	if err != nil {
		r.said = err.Error()
	}
}

// Results of a commit.
const (
	resultOK    = "ok"
	resultError = "error"
)

func (r *netviewReceiver) committed(rows int, took time.Duration, err error) {
	result := resultOK
	if err != nil {
		result = resultError
	}
	ctx := context.Background()
	r.telemetry.Commits.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
	r.telemetry.CommitDuration.Record(ctx, took.Seconds())
}

func (r *netviewReceiver) observer(transport string) (*receiverhelper.ObsReport, error) {
	return receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: r.settings.ID, Transport: transport, ReceiverCreateSettings: r.settings})
}

func (r *netviewReceiver) serveGRPC(ctx context.Context, host component.Host, in *intake) error {
	if !r.config.Protocols.GRPC.HasValue() {
		return nil
	}
	config := r.config.Protocols.GRPC.Get()
	observer, err := r.observer("grpc")
	if err != nil {
		return err
	}
	largest := int64(config.MaxRecvMsgSizeMiB) << 20
	options := grpcOptions(largest)
	if config.TLS.HasValue() {
		encrypted, err := config.TLS.Get().LoadTLSConfig(ctx)
		if err != nil {
			return fmt.Errorf("protocols::grpc::tls: %w", err)
		}
		options = append(options, configgrpc.WithGrpcServerOption(grpc.Creds(handshakes{credentials.NewTLS(encrypted), r.gate})))
	}
	server, err := config.ToServer(ctx, host.GetExtensions(), r.settings.TelemetrySettings, options...)
	if err != nil {
		return fmt.Errorf("protocols::grpc: %w", err)
	}
	listener, err := config.NetAddr.Listen(ctx)
	if err != nil {
		return listenError("protocols::grpc::endpoint", config.NetAddr.Endpoint, err)
	}
	door := newDoor(listener)
	server.RegisterService(&logsService, &grpcServer{intake: in, observer: observer, gate: r.gateOf("grpc"), door: door, largest: largest, receipt: longestReceipt})
	r.grpc = server
	r.settings.Logger.Info("Receiving OTLP/gRPC", zap.Stringer("endpoint", listener.Addr()))
	r.serve(host, func() error { return server.Serve(door) }, grpc.ErrServerStopped)
	return nil
}

func (r *netviewReceiver) serveHTTP(ctx context.Context, host component.Host, in *intake) error {
	if !r.config.Protocols.HTTP.HasValue() {
		return nil
	}
	config := r.config.Protocols.HTTP.Get()
	observer, err := r.observer("http")
	if err != nil {
		return err
	}
	plain := *config
	plain.TLS = configoptional.None[configtls.ServerConfig]() // which comes behind the door
	var listener net.Listener
	if listener, err = plain.ToListener(ctx); err != nil {
		return listenError("protocols::http::endpoint", config.NetAddr.Endpoint, err)
	}
	door := newDoor(listener)
	listener = door
	if config.TLS.HasValue() {
		encrypted, err := config.TLS.Get().LoadTLSConfig(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("protocols::http::tls: %w", err), listener.Close())
		}
		encrypted.NextProtos = []string{"h2", "http/1.1"}
		listener = tls.NewListener(door, encrypted)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/logs", &httpServer{intake: in, observer: observer, gate: r.gateOf("http"), door: door, largest: config.MaxRequestBodySize, receipt: longestReceipt})
	server, err := config.ToServer(ctx, host.GetExtensions(), r.settings.TelemetrySettings, mux,
		confighttp.WithErrorHandler(httpError), confighttp.WithDecoder("zstd", zstdOverHTTP))
	if err != nil {
		return errors.Join(fmt.Errorf("protocols::http: %w", err), listener.Close())
	}
	server.ErrorLog = log.New(httpErrors{r.gate, r.settings.Logger}, "", 0)
	r.http = server
	r.settings.Logger.Info("Receiving OTLP/HTTP", zap.Stringer("endpoint", listener.Addr()))
	r.serve(host, func() error { return server.Serve(listener) }, http.ErrServerClosed)
	return nil
}

func listenError(key, endpoint string, err error) error {
	return fmt.Errorf("%s: cannot listen on %s (is another collector running? choose another port): %w", key, endpoint, err)
}

func (r *netviewReceiver) serve(host component.Host, serve func() error, closed error) {
	r.serving.Go(func() {
		if err := serve(); err != nil && !errors.Is(err, closed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
}

// Shutdown answers the requests that are under way, then ends the store.
func (r *netviewReceiver) Shutdown(ctx context.Context) error {
	var err error
	if r.http != nil {
		err = r.http.Shutdown(ctx)
	}
	if r.grpc != nil {
		r.grpc.GracefulStop()
	}
	if r.stop != nil {
		r.stop()
	}
	r.serving.Wait()
	if r.store != nil {
		r.store.Close()
	}
	return err
}
