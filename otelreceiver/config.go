package otelreceiver

import (
	"errors"
	"fmt"
	"net"
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
	// Forward hands every record on to the pipeline; otherwise the pipeline
	// ends at ClickHouse and records of other producers are refused.
	Forward bool `mapstructure:"forward"`
}

// Protocols are the OTLP servers of the receiver.
type Protocols struct {
	GRPC configoptional.Optional[configgrpc.ServerConfig] `mapstructure:"grpc"`
	HTTP configoptional.Optional[confighttp.ServerConfig] `mapstructure:"http"`
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
	http := confighttp.NewDefaultServerConfig()
	http.NetAddr = confignet.AddrConfig{Endpoint: "127.0.0.1:4318", Transport: confignet.TransportTypeTCP}
	http.TLS = configoptional.None[configtls.ServerConfig]()
	http.MaxRequestBodySize = 16 << 20
	// Not snappy and lz4, which confighttp unpacks in blocks that nobody counts.
	http.CompressionAlgorithms = []string{"", "gzip", "zstd", "zlib", "deflate"}
	http.WriteTimeout = 0 // an acknowledgement waits for the commit
	return &Config{
		Protocols:      Protocols{GRPC: configoptional.Default(grpc), HTTP: configoptional.Default(http)},
		MaxInFlightMiB: 128,
		MaxClockSkew:   10 * time.Minute,
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
