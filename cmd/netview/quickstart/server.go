package quickstart

import (
	"fmt"

	"github.com/netview-project/netview/cmd/netview/dsn"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// server is the ClickHouse server in use.
type server struct {
	embedded              bool
	database              string
	writer, owner, reader string // DSNs
}

// findServer says which server to use: that of the environment or a file, that
// of the command line, or the embedded one.
func findServer(flag, database string) (s server, err error) {
	s.database = database
	if s.writer, err = dsn.FromEnvironment(dsn.Writer); err != nil {
		return s, err
	}
	if s.owner, err = dsn.FromEnvironment(dsn.Owner); err != nil {
		return s, err
	}
	if s.reader, err = dsn.FromEnvironment(dsn.Reader); err != nil {
		return s, err
	}
	if flag != "" {
		if err := dsn.CheckFlag("--clickhouse-dsn", flag, dsn.Writer); err != nil {
			return s, err
		}
		s.writer = flag
	}
	switch {
	case s.writer == "" && (s.owner != "" || s.reader != ""):
		return s, fmt.Errorf("%s or %s is set without %s: set that too, or unset them to use the embedded ClickHouse", dsn.Owner, dsn.Reader, dsn.Writer)
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
