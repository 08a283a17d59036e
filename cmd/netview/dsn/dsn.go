// Package dsn takes the DSNs of ClickHouse from the environment, from files and
// from flags. No error quotes one, since it may hold a password.
package dsn

import (
	"fmt"
	"os"
	"strings"

	"github.com/netview-project/netview/otelreceiver/clickhouse"
)

// Environment variables that hold the DSN of a user. The same names with _FILE
// name a file that holds it.
const (
	Writer = "NETVIEW_CLICKHOUSE_DSN"
	Owner  = "NETVIEW_CLICKHOUSE_OWNER_DSN"
	Reader = "NETVIEW_CLICKHOUSE_READER_DSN"
)

// FromEnvironment returns the DSN of a variable or of its file; empty where
// neither is set.
func FromEnvironment(name string) (string, error) {
	dsn, file := os.Getenv(name), os.Getenv(name+"_FILE")
	if file != "" {
		if dsn != "" {
			return "", fmt.Errorf("both %s and %s_FILE are set: unset one", name, name)
		}
		dsn, err := FromFile(file)
		if err != nil {
			return "", fmt.Errorf("%s_FILE: %w", name, err)
		}
		return dsn, nil
	}
	if dsn == "" {
		return "", nil
	}
	if err := clickhouse.CheckDSN(dsn); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	return dsn, nil
}

// FromFile returns the DSN that a file holds.
func FromFile(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	dsn := strings.TrimSpace(string(text))
	if dsn == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	if err := clickhouse.CheckDSN(dsn); err != nil {
		return "", fmt.Errorf("%s %w", file, err)
	}
	return dsn, nil
}

// CheckFlag refuses a DSN on the command line, where everybody can read it,
// that holds a password; variable is where such a one belongs.
func CheckFlag(flag, dsn, variable string) error {
	if err := clickhouse.CheckDSN(dsn); err != nil {
		return fmt.Errorf("%s %w", flag, err)
	}
	if clickhouse.HasPassword(dsn) {
		return fmt.Errorf("%s holds a password, which everybody on this host could read: put it in the environment variable %s, or its path in %s_FILE", flag, variable, variable)
	}
	return nil
}
