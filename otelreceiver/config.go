package otelreceiver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// Config of the receiver. See README.md for every key with its default.
type Config struct {
	// Protocols are the OTLP servers; at least one must be given.
	Protocols Protocols `mapstructure:"protocols"`
	// ClickHouse is where records are stored.
	ClickHouse ClickHouseConfig `mapstructure:"clickhouse"`
	// MaxInFlightMiB bounds the requests that are being received or not yet
	// answered, in MiB of their uncompressed size. Over it senders are told to
	// come back later.
	MaxInFlightMiB int64 `mapstructure:"max_in_flight_mib"`
	// MaxClockSkew between a sensor and this receiver, beyond which its records
	// go to quarantine.
	MaxClockSkew time.Duration `mapstructure:"max_clock_skew"`
	// MaxSensors is how many sensors may send at a time.
	MaxSensors int `mapstructure:"max_sensors"`
	// Identity says who may speak for which sensor, where a protocol asks for
	// client certificates.
	Identity IdentityConfig `mapstructure:"identity"`
	// Forward hands every record on to the pipeline; otherwise the pipeline
	// ends at ClickHouse and records of other producers are refused.
	Forward bool `mapstructure:"forward"`
}

// Protocols are the OTLP servers of the receiver.
type Protocols struct {
	GRPC configoptional.Optional[configgrpc.ServerConfig] `mapstructure:"grpc"`
	HTTP configoptional.Optional[confighttp.ServerConfig] `mapstructure:"http"`
}

// IdentityConfig says who may speak for which sensor. It has no effect on a protocol
// without tls::client_ca_file.
type IdentityConfig struct {
	// URIPrefix of the URI among a client certificate's alternative names that
	// names its sensor: the rest of it is the sensor_id.
	URIPrefix string `mapstructure:"uri_prefix"`
	// AccessFile lists who may send, what is revoked, and the relays; it is read
	// again whenever it changes. Empty for every sensor with a certificate.
	AccessFile string `mapstructure:"access_file"`
}

// ClickHouseConfig says where and how records are stored.
type ClickHouseConfig struct {
	// DSN of the user that inserts: clickhouse://USER:PASSWORD@HOST:9000, or
	// http:// for the HTTP protocol.
	DSN configopaque.String `mapstructure:"dsn"`
	// Database holds netview's tables and views.
	Database string `mapstructure:"database"`
	// Schema says who makes the tables.
	Schema SchemaConfig `mapstructure:"schema"`
	// Retention is how long rows are kept.
	Retention RetentionConfig `mapstructure:"retention"`
	// CommitInterval is the least time between the beginnings of two commits.
	CommitInterval time.Duration `mapstructure:"commit_interval"`
	// CommitTimeout bounds one commit.
	CommitTimeout time.Duration `mapstructure:"commit_timeout"`
	// MaxCommitRows in one commit.
	MaxCommitRows int `mapstructure:"max_commit_rows"`
}

// SchemaConfig says who makes the tables.
type SchemaConfig struct {
	// Apply creates and alters tables and views at start.
	Apply bool `mapstructure:"apply"`
	// DSN of the user that owns the schema; clickhouse::dsn where it is empty.
	DSN configopaque.String `mapstructure:"dsn"`
}

// RetentionConfig is how long rows are kept, by table. Each is at least a minute.
type RetentionConfig struct {
	Connections time.Duration `mapstructure:"snapshot_connections"`
	Listeners   time.Duration `mapstructure:"snapshot_listeners"`
	Flows       time.Duration `mapstructure:"snapshot_flows"`
	Heartbeats  time.Duration `mapstructure:"heartbeats"`
	Events      time.Duration `mapstructure:"events"`
	Gaps        time.Duration `mapstructure:"gaps"`
	Quarantine  time.Duration `mapstructure:"quarantine"`
}

func createDefaultConfig() component.Config {
	grpc := configgrpc.NewDefaultServerConfig()
	grpc.NetAddr = confignet.AddrConfig{Endpoint: "127.0.0.1:4317", Transport: confignet.TransportTypeTCP}
	grpc.MaxRecvMsgSizeMiB = 4 // of gRPC itself: senders keep to it
	grpc.MaxConcurrentStreams = 100
	grpc.TLS = configoptional.Default(reloadedTLS())
	// So that a sensor shows its newest certificate, and a new collector gets its share.
	grpc.Keepalive.Get().ServerParameters.Get().MaxConnectionAge = 30 * time.Minute
	http := confighttp.NewDefaultServerConfig()
	http.NetAddr = confignet.AddrConfig{Endpoint: "127.0.0.1:4318", Transport: confignet.TransportTypeTCP}
	http.TLS = configoptional.Default(reloadedTLS())
	http.MaxRequestBodySize = 16 << 20
	// Not snappy and lz4, which confighttp unpacks in blocks that nobody counts.
	http.CompressionAlgorithms = []string{"", "gzip", "zstd", "zlib", "deflate"}
	http.WriteTimeout = 0 // an acknowledgement waits for the commit
	return &Config{
		Protocols:      Protocols{GRPC: configoptional.Default(grpc), HTTP: configoptional.Default(http)},
		MaxInFlightMiB: 128,
		MaxClockSkew:   10 * time.Minute,
		MaxSensors:     10_000,
		Identity:       IdentityConfig{URIPrefix: "netview://sensor/"},
		ClickHouse: ClickHouseConfig{
			Database:       "netview",
			Schema:         SchemaConfig{Apply: true},
			Retention:      RetentionConfig(clickhouse.DefaultRetention()),
			CommitInterval: 200 * time.Millisecond,
			CommitTimeout:  30 * time.Second,
			MaxCommitRows:  100_000,
		},
	}
}

// reloadedTLS is what a section tls has by default: its files are read again.
func reloadedTLS() configtls.ServerConfig {
	tls := configtls.NewDefaultServerConfig()
	tls.ReloadInterval, tls.ReloadClientCAFile = 10*time.Second, true
	return tls
}

// trust is how a protocol knows who sends.
type trust struct {
	protocol  string
	certified bool // client certificates are asked for
	auth      bool // by an authenticator
	address   confignet.AddrConfig
	tls       *configtls.ServerConfig // nil in the clear
}

func (t trust) any() bool { return t.certified || t.auth }

func (c *Config) trusts() (list []trust) {
	if c.Protocols.GRPC.HasValue() {
		p := c.Protocols.GRPC.Get()
		list = append(list, newTrust("grpc", &p.TLS, p.Auth.HasValue(), p.NetAddr))
	}
	if c.Protocols.HTTP.HasValue() {
		p := c.Protocols.HTTP.Get()
		list = append(list, newTrust("http", &p.TLS, p.Auth.HasValue(), p.NetAddr))
	}
	return list
}

func newTrust(protocol string, tls *configoptional.Optional[configtls.ServerConfig], auth bool, address confignet.AddrConfig) trust {
	t := trust{protocol: protocol, auth: auth, address: address}
	if tls.HasValue() {
		t.tls = tls.Get()
		t.certified = t.tls.ClientCAFile != ""
	}
	return t
}

// largest request of either protocol, in bytes.
func (c *Config) largest() (n int64) {
	if c.Protocols.GRPC.HasValue() {
		n = int64(c.Protocols.GRPC.Get().MaxRecvMsgSizeMiB) << 20
	}
	if c.Protocols.HTTP.HasValue() {
		n = max(n, c.Protocols.HTTP.Get().MaxRequestBodySize)
	}
	return n
}

// Validate names every key that is wrong. It does no I/O.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if !c.Protocols.GRPC.HasValue() && !c.Protocols.HTTP.HasValue() {
		wrong("protocols", "give grpc, http or both")
	}
	endpoint := func(protocol string, address confignet.AddrConfig) {
		if _, _, err := net.SplitHostPort(address.Endpoint); err != nil && address.Transport == confignet.TransportTypeTCP {
			wrong("protocols::"+protocol+"::endpoint", "%q is not host:port, such as 127.0.0.1:4317", address.Endpoint)
		}
	}
	if c.Protocols.GRPC.HasValue() {
		endpoint("grpc", c.Protocols.GRPC.Get().NetAddr)
	}
	if c.Protocols.HTTP.HasValue() {
		endpoint("http", c.Protocols.HTTP.Get().NetAddr)
	}
	if c.MaxInFlightMiB < 1 {
		wrong("max_in_flight_mib", "%d is not valid: it must be at least 1", c.MaxInFlightMiB)
	}
	// A request that is larger than the limit would never find room.
	if c.Protocols.GRPC.HasValue() {
		if size := c.Protocols.GRPC.Get().MaxRecvMsgSizeMiB; size < 1 || int64(size) > c.MaxInFlightMiB {
			wrong("protocols::grpc::max_recv_msg_size_mib", "%d is not valid: it must be from 1 to max_in_flight_mib, %d", size, c.MaxInFlightMiB)
		}
	}
	if c.Protocols.HTTP.HasValue() {
		if size := c.Protocols.HTTP.Get().MaxRequestBodySize; size < 1 || size > c.MaxInFlightMiB<<20 {
			wrong("protocols::http::max_request_body_size", "%d is not valid: it must be from 1 to max_in_flight_mib, %d", size, c.MaxInFlightMiB<<20)
		}
	}
	if c.MaxClockSkew < time.Second {
		wrong("max_clock_skew", "%v is not valid: it must be at least 1s", c.MaxClockSkew)
	}
	if c.MaxSensors < 1 {
		wrong("max_sensors", "%d is not valid: it must be at least 1", c.MaxSensors)
	}
	if prefix, err := url.Parse(c.Identity.URIPrefix); err != nil || prefix.Scheme == "" || !strings.HasSuffix(c.Identity.URIPrefix, "/") {
		wrong("identity::uri_prefix", "%q is not valid: it is the beginning of a URI up to a slash, such as netview://sensor/ or spiffe://example.org/sensor/", c.Identity.URIPrefix)
	}
	// A door beside the lock.
	if trusts := c.trusts(); slices.ContainsFunc(trusts, trust.any) {
		for _, t := range trusts {
			if !t.any() {
				wrong("protocols::"+t.protocol, "the other protocol asks who sends, and this one takes records of any sensor from anybody: give it tls::client_ca_file or auth, or leave it out")
			}
		}
	}
	certified := slices.ContainsFunc(c.trusts(), func(t trust) bool { return t.certified })
	if c.Identity.AccessFile != "" && !certified {
		wrong("identity::access_file", "has no effect, since no protocol asks for client certificates: give tls::client_ca_file")
	}
	ch := &c.ClickHouse
	if ch.DSN == "" {
		wrong("clickhouse::dsn", "is required, such as clickhouse://USER:PASSWORD@HOST:9000; take it from the environment: ${env:NETVIEW_CLICKHOUSE_DSN}")
	} else if err := clickhouse.CheckDSN(string(ch.DSN)); err != nil {
		wrong("clickhouse::dsn", "%v", err)
	}
	if ch.Schema.DSN != "" {
		if err := clickhouse.CheckDSN(string(ch.Schema.DSN)); err != nil {
			wrong("clickhouse::schema::dsn", "%v", err)
		}
	}
	if err := clickhouse.CheckDatabase(ch.Database); err != nil {
		wrong("clickhouse::database", "%v", err)
	}
	for key, keep := range map[string]time.Duration{"snapshot_connections": ch.Retention.Connections, "snapshot_listeners": ch.Retention.Listeners, "snapshot_flows": ch.Retention.Flows,
		"heartbeats": ch.Retention.Heartbeats, "events": ch.Retention.Events, "gaps": ch.Retention.Gaps, "quarantine": ch.Retention.Quarantine} {
		if keep < time.Minute {
			wrong("clickhouse::retention::"+key, "%v is not valid: it must be at least 1m", keep)
		}
	}
	if ch.CommitInterval < 0 {
		wrong("clickhouse::commit_interval", "%v is not valid: it must not be negative", ch.CommitInterval)
	}
	if ch.CommitTimeout < time.Second {
		wrong("clickhouse::commit_timeout", "%v is not valid: it must be at least 1s", ch.CommitTimeout)
	}
	if ch.MaxCommitRows < 1 {
		wrong("clickhouse::max_commit_rows", "%d is not valid: it must be at least 1", ch.MaxCommitRows)
	}
	return errors.Join(errs...)
}
