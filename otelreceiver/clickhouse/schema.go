package clickhouse

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

//go:embed schema
var schemaFiles embed.FS

// Retention is how long rows are kept, by table. Parts are dropped whole, so a
// row may live up to one partition longer: an hour for snapshots, a day for
// the others.
type Retention struct {
	Connections, Listeners, Flows, Heartbeats, Events, Gaps, Quarantine time.Duration
}

// DefaultRetention is 24 hours for snapshots and 30 days for the rest.
func DefaultRetention() Retention {
	const day = 24 * time.Hour
	return Retention{Connections: day, Listeners: day, Flows: day, Heartbeats: 30 * day, Events: 30 * day, Gaps: 30 * day, Quarantine: 30 * day}
}

// tables names the table of each retention and the SQL that it counts from.
func (r Retention) tables() []retained {
	return []retained{
		{"snapshot_connections", "retention_connections", "timestamp", r.Connections},
		{"snapshot_listeners", "retention_listeners", "timestamp", r.Listeners},
		{"snapshot_flows", "retention_flows", "timestamp", r.Flows},
		{"heartbeats", "retention_heartbeats", "timestamp", r.Heartbeats},
		{"events", "retention_events", "timestamp", r.Events},
		{"gaps", "retention_gaps", "timestamp", r.Gaps},
		{"quarantine", "retention_quarantine", "received", r.Quarantine},
	}
}

type retained struct {
	table, placeholder, column string
	keep                       time.Duration
}

func (r retained) ttl() string {
	return fmt.Sprintf("toDateTime(%s) + toIntervalSecond(%d)", r.column, int64(r.keep.Seconds()))
}

var databaseName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// CheckDatabase returns an error unless name can stand in SQL without quotes.
func CheckDatabase(name string) error {
	if !databaseName.MatchString(name) {
		return fmt.Errorf("database name %.80q is not valid: use letters, digits and _, at most 64, not beginning with a digit", name)
	}
	return nil
}

// firstLine of a statement that is no comment.
var firstLine = regexp.MustCompile(`(?m)^[^-\s].*$`)

// modifySetting of one table; the first of its settings stands for all.
var modifySetting = regexp.MustCompile(`(?m)^ALTER TABLE \w+\.(\w+) MODIFY SETTING (\w+) =`)

// migration is one file of schema/tables: applied once, in order, never changed
// after a release.
type migration struct {
	version    uint32
	name       string
	statements []string
}

// optional is a file of schema/optional: an index or settings that only newer servers
// have, and that nothing but speed rests on. Its first line says since which version.
type optional struct {
	name       string
	since      proto.Version
	statements []string
}

// schema is the whole of the SQL for one database.
type schema struct {
	database   string
	migrations []migration
	views      []string // after the parts that they rest on
	optionals  []optional
}

func newSchema(database string, retention Retention) (*schema, error) {
	if err := CheckDatabase(database); err != nil {
		return nil, err
	}
	replacements := []string{"{{database}}", database}
	for _, r := range retention.tables() {
		replacements = append(replacements, "{{"+r.placeholder+"}}", strconv.FormatInt(int64(r.keep.Seconds()), 10))
	}
	fill := strings.NewReplacer(replacements...)
	s := &schema{database: database}
	err := fs.WalkDir(schemaFiles, "schema", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := schemaFiles.ReadFile(file)
		if err != nil {
			return err
		}
		statements := split(fill.Replace(string(text)))
		stem := strings.TrimSuffix(path.Base(file), ".sql")
		switch path.Base(path.Dir(file)) {
		case "parts", "views": // walked in this order
			s.views = append(s.views, statements...)
			return nil
		case "optional":
			first, _, _ := strings.Cut(string(text), "\n")
			since := proto.ParseVersion(strings.TrimPrefix(first, "-- since "))
			if since == (proto.Version{}) {
				return fmt.Errorf("schema file %s does not begin with `-- since` and a version of three numbers", file)
			}
			s.optionals = append(s.optionals, optional{stem, since, statements})
			return nil
		}
		number, name, _ := strings.Cut(stem, "_")
		version, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return fmt.Errorf("schema file %s does not begin with its version", file)
		}
		s.migrations = append(s.migrations, migration{uint32(version), name, statements})
		return nil
	})
	slices.SortFunc(s.migrations, func(a, b migration) int { return int(a.version) - int(b.version) })
	return s, err
}

// split cuts a file into statements: each ends with a semicolon at a line's end.
func split(text string) []string {
	var statements []string
	for statement := range strings.SplitSeq(text, ";\n") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}

func (s *schema) newest() uint32 { return s.migrations[len(s.migrations)-1].version }

// SQL returns every statement that makes the schema, for those who apply it
// themselves.
func SQL(database string, retention Retention) (string, error) {
	s, err := newSchema(database, retention)
	if err != nil {
		return "", err
	}
	statements := []string{"CREATE DATABASE IF NOT EXISTS " + database, s.versionTable()}
	for _, m := range s.migrations {
		statements = append(statements, m.statements...)
		statements = append(statements, s.recordVersion(m))
	}
	statements = append(statements, s.views...)
	for _, o := range s.optionals {
		statements = append(statements, o.statements...)
	}
	return strings.Join(statements, ";\n\n") + ";\n", nil
}

func (s *schema) versionTable() string {
	return "CREATE TABLE IF NOT EXISTS " + s.database + ".schema_versions\n" +
		"(version UInt32, name String, applied DateTime64(3, 'UTC') DEFAULT now64(3))\n" +
		"ENGINE = ReplacingMergeTree ORDER BY version"
}

func (s *schema) recordVersion(m migration) string {
	return fmt.Sprintf("INSERT INTO %s.schema_versions (version, name) VALUES (%d, '%s')", s.database, m.version, m.name)
}

// NewerSchemaError says that the database was made by a newer netview.
type NewerSchemaError struct {
	Database   string
	Have, Know uint32
}

func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("database %s has schema version %d, this receiver knows up to %d: run a collector of the newer version, or use another database", e.Database, e.Have, e.Know)
}

// version returns the schema version of the database, 0 when it has none.
func (s *schema) version(ctx context.Context, conn driver.Conn) (uint32, error) {
	var exists uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM system.tables WHERE database = ? AND name = 'schema_versions'", s.database).Scan(&exists); err != nil {
		return 0, fmt.Errorf("looking for the schema of database %s: %w", s.database, err)
	}
	if exists == 0 {
		return 0, nil
	}
	var version uint32
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM "+s.database+".schema_versions").Scan(&version); err != nil {
		return 0, fmt.Errorf("reading the schema version of database %s: %w", s.database, err)
	}
	if version > s.newest() {
		return version, &NewerSchemaError{s.database, version, s.newest()}
	}
	return version, nil
}

// apply brings the database to the newest version. Every statement can be
// repeated, so several collectors may do this at once. warn is told of what is
// optional and could not be done.
func (s *schema) apply(ctx context.Context, conn driver.Conn, server proto.Version, retention Retention, warn func(error)) error {
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	run := func(statement string) error {
		if err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("applying the schema (%s …): %w", firstLine.FindString(statement), err)
		}
		return nil
	}
	if version == 0 {
		// Only where it is absent: creating is a right that a user may not have.
		var exists uint64
		if err := conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = ?", s.database).Scan(&exists); err != nil {
			return fmt.Errorf("looking for database %s: %w", s.database, err)
		}
		if exists == 0 {
			if err := run("CREATE DATABASE IF NOT EXISTS " + s.database); err != nil {
				return err
			}
		}
		if err := run(s.versionTable()); err != nil {
			return err
		}
	}
	for _, m := range s.migrations {
		if m.version <= version {
			continue
		}
		for _, statement := range append(m.statements, s.recordVersion(m)) {
			if err := run(statement); err != nil {
				return err
			}
		}
	}
	for _, statement := range s.views {
		if err := run(statement); err != nil {
			return err
		}
	}
	for _, o := range s.optionals {
		if !proto.CheckMinVersion(o.since, server) {
			continue
		}
		for _, statement := range o.statements {
			if there, err := s.hasSetting(ctx, conn, statement); err != nil {
				return err
			} else if there {
				continue
			}
			if err := run(statement); err != nil {
				warn(fmt.Errorf("without the optional %s the database is slower: %w", o.name, err))
			}
		}
	}
	return s.retain(ctx, conn, retention, run)
}

// hasSetting says that a statement would set what its table sets already: ours from an
// earlier start, or somebody's own values, which are to stay.
func (s *schema) hasSetting(ctx context.Context, conn driver.Conn, statement string) (bool, error) {
	match := modifySetting.FindStringSubmatch(statement)
	if match == nil {
		return false, nil
	}
	engine, err := s.engine(ctx, conn, match[1])
	return strings.Contains(engine, " "+match[2]+" = "), err
}

// retain alters the TTL of the tables whose retention has changed.
func (s *schema) retain(ctx context.Context, conn driver.Conn, retention Retention, run func(string) error) error {
	for _, r := range retention.tables() {
		engine, err := s.engine(ctx, conn, r.table)
		if err != nil {
			return err
		}
		if strings.Contains(engine, "TTL "+r.ttl()) {
			continue
		}
		if err := run(fmt.Sprintf("ALTER TABLE %s.%s MODIFY TTL %s", s.database, r.table, r.ttl())); err != nil {
			return err
		}
	}
	return nil
}

// engine of a table, with its TTL and settings.
func (s *schema) engine(ctx context.Context, conn driver.Conn, table string) (engine string, err error) {
	if err := conn.QueryRow(ctx, "SELECT engine_full FROM system.tables WHERE database = ? AND name = ?", s.database, table).Scan(&engine); err != nil {
		return "", fmt.Errorf("reading the engine of %s.%s: %w", s.database, table, err)
	}
	return engine, nil
}

// verify checks a schema that somebody else applies.
func (s *schema) verify(ctx context.Context, conn driver.Conn) error {
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	if version < s.newest() {
		return fmt.Errorf("database %s has schema version %d, this receiver needs %d: apply the output of `netview schema`, or set clickhouse::schema::apply", s.database, version, s.newest())
	}
	return nil
}
