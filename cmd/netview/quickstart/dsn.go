package quickstart

import (
	"fmt"
	"os"
	"strings"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// Environment variables by which another ClickHouse server is used. The same
// names with _FILE name a file that holds the value.
const (
	envDSN      = "NETVIEW_CLICKHOUSE_DSN"
	envOwnerDSN = "NETVIEW_CLICKHOUSE_OWNER_DSN"
	envReadDSN  = "NETVIEW_CLICKHOUSE_READER_DSN"
)

// server is the ClickHouse server in use.
type server struct {
	embedded              bool
	database              string
	writer, owner, reader string // DSNs
}

// findServer says which server to use: that of the environment or a file, that
// of the command line, where everybody can read it and so no password may
// stand, or the embedded one.
func findServer(flag, database string) (s server, err error) {
	s.database = database
	if s.writer, err = fromEnvironment(envDSN); err != nil {
		return s, err
	}
	if s.owner, err = fromEnvironment(envOwnerDSN); err != nil {
		return s, err
	}
	if s.reader, err = fromEnvironment(envReadDSN); err != nil {
		return s, err
	}
	if flag != "" {
		if err := clickhouse.CheckDSN(flag); err != nil {
			return s, fmt.Errorf("--clickhouse-dsn %w", err)
		}
		if clickhouse.HasPassword(flag) {
			return s, fmt.Errorf("--clickhouse-dsn holds a password, which everybody on this host could read: put it in the environment variable %s, or its path in %s_FILE", envDSN, envDSN)
		}
		s.writer = flag
	}
	switch {
	case s.writer == "" && (s.owner != "" || s.reader != ""):
		return s, fmt.Errorf("%s or %s is set without %s: set that too, or unset them to use the embedded ClickHouse", envOwnerDSN, envReadDSN, envDSN)
	case s.writer == "":
		s.embedded = true
		if database != embeddedDatabase {
			return s, fmt.Errorf("--database %s: the embedded ClickHouse holds the database %s only", database, embeddedDatabase)
		}
		return s, nil
	}
	if s.owner == "" {
		s.owner = s.writer
	}
	if s.reader == "" {
		s.reader = s.writer
	}
	return s, clickhouse.CheckDatabase(database)
}

func fromEnvironment(name string) (string, error) {
	dsn, file := os.Getenv(name), os.Getenv(name+"_FILE")
	if file != "" {
		if dsn != "" {
			return "", fmt.Errorf("both %s and %s_FILE are set: unset one", name, name)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("%s_FILE: %w", name, err)
		}
		if dsn = strings.TrimSpace(string(text)); dsn == "" {
			return "", fmt.Errorf("%s_FILE: %s is empty", name, file)
		}
		name += "_FILE"
	}
	if dsn == "" {
		return "", nil
	}
	if err := clickhouse.CheckDSN(dsn); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	return dsn, nil
}
