package engine_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/internal/testch"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

func TestMain(m *testing.M) { testch.Main(m) }

// query runs a statement as the user of a DSN and returns the first value of its answer, as text.
func query(dsn, statement string) (string, error) {
	conn, err := clickhouse.Open(dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if !strings.HasPrefix(statement, "SELECT") {
		return "", conn.Exec(context.Background(), statement)
	}
	rows, err := conn.Query(context.Background(), statement)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	value := ""
	if rows.Next() {
		if err := rows.Scan(&value); err != nil {
			return "", err
		}
	}
	return value, rows.Err()
}

func must(t *testing.T, dsn, statement string) string {
	t.Helper()
	value, err := query(dsn, statement)
	if err != nil {
		t.Fatalf("%v\n%s", err, statement)
	}
	return value
}

// dsns are the ways in, by both protocols, of a user.
func dsns(ch *testch.Server, user string) []string { return []string{ch.DSN(user), ch.HTTPDSN(user)} }

// TestBadClientsDoNotKillIt: without a terminal the engine aborts when a client
// fails; each of these did it.
func TestBadClientsDoNotKillIt(t *testing.T) {
	ch := testch.Start(t)
	pid := ch.PID()
	say := func(address string, bytes []byte) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write(bytes) // it may hang up on us
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Read(make([]byte, 1000))
	}
	garbage := make([]byte, 4096)
	_, _ = rand.Read(garbage)
	hello := append([]byte{0, 6}, "client"...)
	for name, bad := range map[string]func(){
		"wrong password": func() {
			for _, dsn := range dsns(ch, engine.Owner) {
				if _, err := query(strings.Replace(dsn, "owner:", "owner:x", 1), "SELECT 'in'"); err == nil {
					t.Error("a wrong password is accepted")
				}
			}
		},
		"unknown user": func() {
			for _, dsn := range dsns(ch, "nobody") {
				if _, err := query(dsn, "SELECT 'in'"); err == nil {
					t.Error("an unknown user is accepted")
				}
			}
		},
		"garbage": func() {
			say(ch.Options().TCPAddress, garbage)
			say(ch.Options().HTTPAddress, garbage)
		},
		"nothing":                 func() { say(ch.Options().TCPAddress, nil); say(ch.Options().HTTPAddress, nil) },
		"half a hello":            func() { say(ch.Options().TCPAddress, hello) },
		"HTTP to the native port": func() { say(ch.Options().TCPAddress, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
		"a query that fails": func() {
			for _, dsn := range dsns(ch, engine.Reader) {
				if _, err := query(dsn, "SELECT no_such_thing"); err == nil {
					t.Error("no error")
				}
			}
		},
		"a client that goes in the middle": func() {
			for _, dsn := range dsns(ch, engine.Reader) {
				conn, err := clickhouse.Open(dsn)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				_ = conn.Exec(ctx, "SELECT sum(sleepEachRow(0.1)) FROM numbers(30) SETTINGS max_block_size = 1") // its end is what is tested
				cancel()
				conn.Close()
			}
		},
	} {
		bad()
		select {
		case <-ch.Done():
			t.Fatalf("%s killed the engine", name)
		default:
		}
		for _, dsn := range dsns(ch, engine.Reader) {
			if got := must(t, dsn, "SELECT 'alive'"); got != "alive" || ch.PID() != pid {
				t.Fatalf("after %s it answers %q", name, got)
			}
		}
	}
}

// command runs netview-clickhouse until it is ready.
func command(t *testing.T, options engine.Options) *exec.Cmd {
	t.Helper()
	c := exec.Command(testbin.Path(t, "netview-clickhouse"), "--library", options.Library, "--data", options.DataDir,
		"--tcp-address", options.TCPAddress, "--http-address", options.HTTPAddress)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 1000)); err != nil || n == 0 {
		t.Fatalf("netview-clickhouse ended before it was ready: %v", c.Wait())
	}
	return c
}

// child is the engine below a process, 0 where there is none.
func child(parent int) (pid int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		text, _ := os.ReadFile(file)
		if fields := strings.Fields(string(text)); len(fields) > 3 && fields[3] == strconv.Itoa(parent) {
			pid, _ = strconv.Atoi(fields[0])
		}
	}
	return pid
}

func TestKilledParentEndsIt(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill() // only its options are wanted
	parent := command(t, ch.Options())
	pid := child(parent.Process.Pid)
	if pid == 0 {
		t.Fatal("netview-clickhouse has no engine")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the engine %d outlives its parent", pid)
		}
	}
	ch.Restart()
	must(t, ch.DSN(engine.Reader), "SELECT 'alive'")
}

// TestCleanStop: with idle pooled connections of both protocols the engine would
// wait, and end by force.
func TestCleanStop(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	c := command(t, ch.Options())
	for _, dsn := range dsns(ch, engine.Reader) {
		options, err := driver.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		options.MaxIdleConns = 5
		conn, err := driver.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := http.Get("http://" + ch.Options().HTTPAddress + "/ping")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("netview-clickhouse after SIGTERM: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	ch := testch.Start(t)
	base := ch.Options()
	for name, tt := range map[string]struct {
		change func(o *engine.Options)
		quotes []string
	}{
		"taken native port": {func(o *engine.Options) { o.DataDir, o.HTTPAddress = t.TempDir(), testch.FreeAddress(t) }, []string{base.TCPAddress, "another port"}},
		"taken HTTP port":   {func(o *engine.Options) { o.DataDir, o.TCPAddress = t.TempDir(), testch.FreeAddress(t) }, []string{base.HTTPAddress, "another port"}},
		"data in use": {func(o *engine.Options) { o.TCPAddress, o.HTTPAddress = testch.FreeAddress(t), testch.FreeAddress(t) },
			[]string{base.DataDir, "in use", "another directory"}},
		"no library":      {func(o *engine.Options) { o.Library = "/nowhere.so" }, []string{"/nowhere.so", "make deps"}},
		"no such address": {func(o *engine.Options) { o.TCPAddress = "192.0.2.1:9000" }, []string{"192.0.2.1:9000"}},
		"data not to make": {func(o *engine.Options) {
			o.DataDir, o.TCPAddress, o.HTTPAddress = "/proc/x", testch.FreeAddress(t), testch.FreeAddress(t)
		}, []string{"/proc/x"}},
	} {
		options := base
		tt.change(&options)
		server, err := engine.Start(context.Background(), options)
		if err == nil {
			server.Kill()
			t.Errorf("%s: it starts", name)
			continue
		}
		for _, quote := range tt.quotes {
			if !strings.Contains(err.Error(), quote) {
				t.Errorf("%s: %q does not name %q", name, err, quote)
			}
		}
	}
}

// TestKillWhileInserting: what was acknowledged is there after kill -9.
func TestKillWhileInserting(t *testing.T) {
	ch := testch.Start(t)
	owner := ch.DSN(engine.Owner)
	must(t, owner, "CREATE DATABASE IF NOT EXISTS netview")
	must(t, owner, "CREATE TABLE netview.t (batch UInt64, row UInt64) ENGINE = ReplacingMergeTree ORDER BY (batch, row)")
	const rows = 1000
	var acknowledged atomic.Uint64
	for range 3 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				next := acknowledged.Load() + 1
				if _, err := query(owner, fmt.Sprintf("INSERT INTO netview.t SELECT %d, number FROM numbers(%d)", next, rows)); err != nil {
					return
				}
				acknowledged.Store(next)
			}
		}()
		for before := acknowledged.Load(); acknowledged.Load() < before+20; time.Sleep(time.Millisecond) {
			select {
			case <-ended:
				t.Fatal("the inserts ended")
			default:
			}
		}
		ch.Kill()
		<-ended
		ch.Restart()
		owner = ch.DSN(engine.Owner)
		got := must(t, owner, fmt.Sprintf("SELECT toString(uniqExact(batch, row)) FROM netview.t WHERE batch <= %d", acknowledged.Load()))
		if want := strconv.FormatUint(acknowledged.Load()*rows, 10); got != want {
			t.Errorf("%s rows of the acknowledged %s are there", got, want)
		}
	}
}

const canary = "canary-7c1f"

// TestNobodyReadsAFile: the engine runs with the rights of who started it, often
// root, and its user default and reader need no password.
func TestNobodyReadsAFile(t *testing.T) {
	ch := testch.Start(t)
	if _, _, err := ch.WriteDSNs(); err != nil {
		t.Fatal(err)
	}
	must(t, ch.DSN(engine.Owner), "CREATE DATABASE IF NOT EXISTS netview")
	file := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(t.TempDir(), "written")
	attempts := []string{
		"SELECT * FROM file('%[1]s', LineAsString)",
		"SELECT * FROM file('../../../../../../../../%[1]s', 'LineAsString', 'x String')",
		"SELECT * FROM fileCluster('default', '%[1]s', LineAsString)",
		"SELECT * FROM url('file://%[1]s', LineAsString, 'x String')",
		"SELECT * FROM url('http://%[3]s/?query=SELECT+1', LineAsString, 'x String')",
		"SELECT * FROM s3('http://%[3]s/x', LineAsString, 'x String')",
		"SELECT * FROM executable('cat %[1]s', LineAsString, 'x String')",
		"SELECT * FROM sqlite('%[1]s', 't')",
		"SELECT * FROM remote('%[2]s', 'system', 'one', 'default', '')",
		"SELECT * FROM remote('%[2]s', file('%[1]s', 'LineAsString', 'x String'))",
		"SELECT * FROM mysql('%[2]s', 'd', 't', 'u', 'p')",
		"SELECT * FROM postgresql('%[2]s', 'd', 't', 'u', 'p')",
		"SELECT * FROM loop(file('%[1]s', 'LineAsString', 'x String')) LIMIT 1",
		"SELECT * FROM merge('system', '^users$')",
		"SELECT file('%[1]s')",
		"SELECT file('%[5]s/credentials/netview_owner.password')",
		"SELECT file('%[5]s/credentials/owner.dsn')",
		"SELECT file('/etc/passwd')",
		"SELECT file('/proc/1/environ')",
		"SELECT file('/proc/self/root%[1]s')",
		"SELECT file('../../../../../../../../../%[1]s')",
		"SELECT * FROM python('x')",
		"SELECT dictGet('x', 'y', 1)",
		"SELECT * FROM deltaLakeLocal('%[1]s')",
		"SELECT * FROM icebergLocal('%[1]s')",
		"SELECT * FROM system.users",
		"SELECT * FROM system.grants",
		"SELECT * FROM system.text_log",
		"CREATE TABLE netview.f (x String) ENGINE = File(LineAsString)",
		"CREATE TABLE netview.f (x String) ENGINE = URL('file://%[1]s', LineAsString)",
		"CREATE TABLE netview.f (x String) ENGINE = StripeLog",
		"CREATE TABLE netview.f (x String) ENGINE = Distributed('default', 'system', 'one')",
		"CREATE TABLE netview.f AS file('%[1]s', LineAsString)",
		"CREATE TEMPORARY TABLE f (x String) ENGINE = File(LineAsString, '%[1]s')",
		"CREATE TEMPORARY TABLE f ENGINE = Memory AS SELECT * FROM file('%[1]s', LineAsString)",
		"CREATE DATABASE f ENGINE = Filesystem('/')",
		"CREATE DATABASE f ENGINE = SQLite('%[1]s')",
		"CREATE DATABASE f",
		"CREATE DICTIONARY netview.d (k UInt64, x String) PRIMARY KEY k SOURCE(FILE(path '%[1]s' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY netview.d (k UInt64, x String) PRIMARY KEY k SOURCE(EXECUTABLE(command 'cat %[1]s' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE DICTIONARY netview.d (k UInt64, x String) PRIMARY KEY k SOURCE(CLICKHOUSE(query 'SELECT 1, x FROM file(''%[1]s'', LineAsString, ''x String'')')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE VIEW netview.v SQL SECURITY NONE AS SELECT * FROM file('%[1]s', LineAsString, 'x String')",
		"CREATE VIEW netview.v DEFINER = default SQL SECURITY DEFINER AS SELECT 1",
		"CREATE FUNCTION f AS (x) -> x",
		"CREATE NAMED COLLECTION n AS url = 'file://%[1]s'",
		"CREATE USER u",
		"GRANT ALL ON *.* TO netview_reader",
		"INSERT INTO FUNCTION file('%[4]s', 'LineAsString', 'x String') SELECT 'x'",
		"BACKUP DATABASE netview TO File('%[4]s')",
		"RESTORE DATABASE netview FROM File('%[1]s')",
		"ATTACH TABLE netview.f FROM '%[1]s' (x String) ENGINE = ReplacingMergeTree ORDER BY x",
		"SYSTEM SHUTDOWN",
		"SYSTEM RELOAD CONFIG",
		"KILL QUERY WHERE 1",
	}
	o := ch.Options()
	for _, user := range []string{"default", engine.Owner, engine.Writer, engine.Reader} {
		for _, attempt := range attempts {
			statement := fmt.Sprintf(attempt, file, o.TCPAddress, o.HTTPAddress, written, o.DataDir)
			statement, _, _ = strings.Cut(statement, "%!(EXTRA")
			for _, dsn := range dsns(ch, user) {
				got, err := query(dsn, statement)
				if err == nil || strings.Contains(err.Error(), canary) {
					t.Errorf("%s may do %s (%q)", user, statement, got)
				}
			}
		}
	}
	if _, err := os.Stat(written); err == nil {
		t.Error("a file was written")
	}
}

func TestRights(t *testing.T) {
	ch := testch.Start(t)
	owner := ch.DSN(engine.Owner)
	must(t, owner, "CREATE DATABASE IF NOT EXISTS netview")
	must(t, owner, "CREATE TABLE netview.t (x UInt64) ENGINE = ReplacingMergeTree ORDER BY x")
	must(t, owner, "CREATE VIEW netview.v AS SELECT x FROM netview.t WHERE x >= {least:UInt64}")
	for _, tt := range []struct {
		statement string
		may       string // the users who may, by their first letters: owner, writer, reader, default
	}{
		{"SELECT toString(count()) FROM netview.t", "owr"},
		{"SELECT toString(count()) FROM netview.v(least = 1)", "owr"},
		{"INSERT INTO netview.t VALUES (1)", "ow"},
		{"ALTER TABLE netview.t ADD COLUMN IF NOT EXISTS y String", "o"},
		{"ALTER TABLE netview.t DELETE WHERE x = 7", "o"},
		{"CREATE OR REPLACE VIEW netview.w AS SELECT 1", "o"},
		{"CREATE TABLE IF NOT EXISTS netview.n (x UInt64) ENGINE = ReplacingMergeTree ORDER BY x", "o"},
		{"TRUNCATE TABLE netview.n", "o"},
		{"OPTIMIZE TABLE netview.t", "o"},
		{"DROP TABLE IF EXISTS netview.v", "o"},
		{"CREATE TABLE default.n (x UInt64) ENGINE = ReplacingMergeTree ORDER BY x", ""},
		{"SELECT toString(1) SETTINGS max_execution_time = 5", "owrd"}, // what Grafana sends
		{"SELECT toString(1) SETTINGS max_memory_usage = 1000000000", "owd"},
		{"SELECT toString(1) SETTINGS readonly = 0", "owd"},
	} {
		for _, user := range []string{engine.Writer, engine.Reader, "default", engine.Owner} { // the owner may drop what the others try
			may := strings.Contains(tt.may, strings.TrimPrefix(user, "netview_")[:1])
			for _, dsn := range dsns(ch, user) {
				if _, err := query(dsn, tt.statement); (err == nil) != may {
					t.Errorf("%s: %s: %v", user, tt.statement, err)
				}
			}
		}
	}
}

// TestSecretsStaySecret: files that only their owner reads, and no command line.
func TestSecretsStaySecret(t *testing.T) {
	ch := testch.Start(t)
	if _, _, err := ch.WriteDSNs(); err != nil {
		t.Fatal(err)
	}
	options, err := driver.ParseDSN(ch.DSN(engine.Owner))
	if err != nil {
		t.Fatal(err)
	}
	holding := 0
	err = filepath.WalkDir(ch.Options().DataDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), options.Auth.Password) {
			return err
		}
		holding++
		if filepath.Base(filepath.Dir(path)) != "credentials" {
			t.Errorf("%s, which the engine may read, holds a password", path)
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s holds a password and has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || holding == 0 {
		t.Errorf("%d files hold the password (%v)", holding, err)
	}
	for _, file := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", ch.PID(), file))
		if err != nil || strings.Contains(string(text), options.Auth.Password) {
			t.Errorf("%s of the engine: %q %v", file, text, err)
		}
	}
}
