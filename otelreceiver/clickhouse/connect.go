package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

var schemes = []string{"clickhouse", "tcp", "native", "http", "https"}

// CheckDSN returns an error unless the DSN can be parsed. The error never
// quotes it, since it may hold a password.
func CheckDSN(dsn string) error {
	scheme, _, _ := strings.Cut(dsn, "://")
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil || len(options.Addr) == 0 || options.Addr[0] == "" || !slices.Contains(schemes, scheme) {
		return errors.New("is not a ClickHouse DSN: use clickhouse://USER:PASSWORD@HOST:9000 (native) or http://USER:PASSWORD@HOST:8123")
	}
	return nil
}

// HasPassword reports whether a valid DSN holds a password.
func HasPassword(dsn string) bool {
	options, err := clickhouse.ParseDSN(dsn)
	return err == nil && options.Auth.Password != ""
}

// Open connects to the server of a DSN.
func Open(dsn string) (driver.Conn, error) { return open(dsn, nil) }

func open(dsn string, settings clickhouse.Settings) (driver.Conn, error) {
	if err := CheckDSN(dsn); err != nil {
		return nil, err
	}
	options, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, CheckDSN(dsn)
	}
	if options.DialTimeout == 0 {
		options.DialTimeout = 5 * time.Second
	}
	options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	if options.Settings == nil {
		options.Settings = clickhouse.Settings{}
	}
	for name, value := range settings {
		options.Settings[name] = value
	}
	return clickhouse.Open(options)
}

// insertSettings are set explicitly because their defaults differ between
// versions: an acknowledgement must mean that the rows are committed, and equal
// blocks are told apart by the identity in the key, not by their bytes.
var insertSettings = map[string]string{
	"async_insert":       "0",
	"insert_deduplicate": "0",
	"deduplicate_insert": "disable",
	// A backlog spans many partitions; with the default of 100 an honest one
	// would be refused for ever, and with it all that shares its commit.
	"max_partitions_per_insert_block": "0",
}

// openWriter connects as the user that inserts. Of [insertSettings] it sets
// those that the server knows: an older one refuses every query with a newer name.
func openWriter(ctx context.Context, dsn string) (driver.Conn, error) {
	plain, err := Open(dsn)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	known := clickhouse.Settings{}
	for name, value := range insertSettings {
		var exception *clickhouse.Exception
		var now string
		switch err := plain.QueryRow(ctx, "SELECT toString(getSetting('"+name+"'))").Scan(&now); {
		case err == nil:
			known[name] = clickhouse.CustomSetting{Value: value}
		case errors.As(err, &exception) && exception.Code == int32(chproto.ErrUnknownSetting):
		default:
			return nil, fmt.Errorf("connecting to ClickHouse as the writer: %w", err)
		}
	}
	return open(dsn, known)
}

// oldestServer is the first release with parameterized views and every column
// type of the schema, by ClickHouse's own changelog. Only 26.7 was run.
var oldestServer = proto.Version{Major: 23, Minor: 1}

func checkServer(conn driver.Conn) (proto.Version, error) {
	server, err := conn.ServerVersion()
	if err != nil {
		return proto.Version{}, fmt.Errorf("connecting to ClickHouse: %w", err)
	}
	if !proto.CheckMinVersion(oldestServer, server.Version) {
		return server.Version, fmt.Errorf("ClickHouse %s is too old: netview needs %s or later (26.7 is what it is tested with)", server.Version, oldestServer)
	}
	return server.Version, nil
}
