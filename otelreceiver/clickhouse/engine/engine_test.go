package engine_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// mortal is a connection that die ends as the kernel ends those of a process
// that is killed with unread data: by a reset.
func mortal(t *testing.T, dsn string) (die func(), conn driver.Conn) {
	t.Helper()
	options, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	var mutex sync.Mutex
	var sockets []net.Conn
	options.DialContext = func(ctx context.Context, address string) (net.Conn, error) {
		socket, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		mutex.Lock()
		defer mutex.Unlock()
		sockets = append(sockets, socket)
		return socket, err
	}
	if conn, err = driver.Open(options); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	return func() {
		mutex.Lock()
		defer mutex.Unlock()
		for _, socket := range sockets {
			_ = socket.(*net.TCPConn).SetLinger(0)
			_ = socket.Close()
		}
	}, conn
}

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
	lies := append([]byte{0, 0xff, 0xff, 0xff, 0xff, 0x7f}, "client"...) // about its length
	must(t, ch.DSN(engine.Owner), "CREATE DATABASE IF NOT EXISTS netview")
	must(t, ch.DSN(engine.Owner), "CREATE TABLE netview.t (x UInt64) ENGINE = ReplacingMergeTree ORDER BY x")
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
		"a hello that lies":       func() { say(ch.Options().TCPAddress, lies) },
		"half an HTTP request":    func() { say(ch.Options().HTTPAddress, []byte("POST /?query=SELECT HTTP/1.1\r\nHost:")) },
		"HTTP to the native port": func() { say(ch.Options().TCPAddress, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
		"a query that fails": func() {
			for _, dsn := range dsns(ch, engine.Reader) {
				if _, err := query(dsn, "SELECT no_such_thing"); err == nil {
					t.Error("no error")
				}
			}
		},
		"a client that is killed while it queries": func() {
			for _, dsn := range dsns(ch, engine.Reader) {
				die, conn := mortal(t, dsn)
				failed := make(chan error)
				go func() {
					failed <- conn.Exec(context.Background(), "SELECT sum(sleepEachRow(0.1)) FROM numbers(8)")
				}()
				time.Sleep(200 * time.Millisecond)
				die()
				var refused *driver.Exception
				if err := <-failed; err == nil || errors.As(err, &refused) {
					t.Errorf("the query was not cut off: %v", err)
				}
				conn.Close()
			}
			must(t, ch.DSN(engine.Reader), "SELECT toString(sum(sleepEachRow(0.1))) FROM numbers(10)") // outlasts the two, which fail at their end
		},
		"a client that is killed while it inserts": func() {
			die, conn := mortal(t, ch.DSN(engine.Writer))
			batch, err := conn.PrepareBatch(context.Background(), "INSERT INTO netview.t")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(batch.Append(uint64(1)), batch.Flush()); err != nil {
				t.Fatal(err)
			}
			die()
			conn.Close()
			user := strings.Split(strings.TrimPrefix(ch.DSN(engine.Writer), "clickhouse://"), "@")[0]
			name, password, _ := strings.Cut(user, ":")
			say(ch.Options().HTTPAddress, fmt.Appendf(nil, "POST /?query=INSERT+INTO+netview.t+FORMAT+TSV&user=%s&password=%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n1\n2\n", name, password))
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
	cutOff := make(chan struct{})
	go func() { // a query does not keep it
		defer close(cutOff)
		_, _ = query(ch.DSN(engine.Reader), "SELECT toString(sum(cityHash64(number))) FROM numbers(1000000000000)")
	}()
	time.Sleep(200 * time.Millisecond)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	<-cutOff
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the engine %d outlives its parent", pid)
		}
	}
	ch.Restart()
	must(t, ch.DSN(engine.Reader), "SELECT 'alive'")
}

// poolIdle leaves idle pooled connections of both protocols open until the test ends.
func poolIdle(t *testing.T, ch *testch.Server) {
	t.Helper()
	for _, dsn := range dsns(ch, engine.Reader) {
		conn, err := clickhouse.Open(dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := http.Get("http://" + ch.Options().HTTPAddress + "/ping")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
}

// TestCleanStop: by Stop, and by SIGTERM to the command.
func TestCleanStop(t *testing.T) {
	ch := testch.Start(t)
	poolIdle(t, ch)
	// An engine that waits for idle connections ends itself by force after five
	// seconds, with 0: only what Stop grants it tells that from a clean end.
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	if err := ch.Stop(ctx); err != nil {
		t.Error(err)
	}
	c := command(t, ch.Options())
	pid := child(c.Process.Pid)
	poolIdle(t, ch)
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("netview-clickhouse after SIGTERM: %v", err)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("the engine %d outlives the stop", pid)
	}
}

// TestStopTellsOfAFailure: an engine that died is no clean stop.
func TestStopTellsOfAFailure(t *testing.T) {
	ch := testch.Start(t)
	if err := syscall.Kill(ch.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-ch.Done()
	if err := ch.Stop(context.Background()); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Stop of a killed engine: %v", err)
	}
}

// TestOddOptions: what an operator may well choose.
func TestOddOptions(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	for name, change := range map[string]func(o *engine.Options){
		"data with signs of XML": func(o *engine.Options) { o.DataDir = filepath.Join(t.TempDir(), `a <b> & "c"`) },
		"a host by name": func(o *engine.Options) {
			o.TCPAddress, o.HTTPAddress = strings.Replace(o.TCPAddress, "127.0.0.1", "localhost", 1), strings.Replace(o.HTTPAddress, "127.0.0.1", "localhost", 1)
		},
	} {
		options := ch.Options()
		change(&options)
		server, err := engine.Start(context.Background(), options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		must(t, server.DSN(engine.Reader), "SELECT 'alive'")
		server.Kill()
	}
}

// TestLogTellsWhyItDoesNotStart: the engine prints that where nobody reads it.
func TestLogTellsWhyItDoesNotStart(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	options := ch.Options()
	for name, obstacle := range map[string]string{ // a directory in the way, and what the log says
		"of its data":          "store/status",
		"of its configuration": "config.d/x.xml",
	} {
		var log bytes.Buffer
		options.DataDir, options.Log = t.TempDir(), &log
		if err := os.MkdirAll(filepath.Join(options.DataDir, obstacle), 0o700); err != nil {
			t.Fatal(err)
		}
		server, err := engine.Start(context.Background(), options)
		if err == nil {
			server.Kill()
			t.Errorf("it starts in spite of %s", obstacle)
			continue
		}
		if !strings.Contains(err.Error(), "see its log") || !strings.Contains(log.String(), strings.Split(obstacle, "/")[0]) {
			t.Errorf("%s: %v; its log: %q", name, err, log.String())
		}
	}
}

func TestRefusals(t *testing.T) {
	ch := testch.Start(t)
	base := ch.Options()
	for name, tt := range map[string]struct {
		change func(o *engine.Options)
		quotes []string
	}{
		"taken native port": {func(o *engine.Options) { o.DataDir, o.HTTPAddress = t.TempDir(), testbin.FreeAddress(t) }, []string{base.TCPAddress, "another port"}},
		"taken HTTP port":   {func(o *engine.Options) { o.DataDir, o.TCPAddress = t.TempDir(), testbin.FreeAddress(t) }, []string{base.HTTPAddress, "another port"}},
		"data in use": {func(o *engine.Options) { o.TCPAddress, o.HTTPAddress = testbin.FreeAddress(t), testbin.FreeAddress(t) },
			[]string{base.DataDir, "in use", "another directory"}},
		"no library":       {func(o *engine.Options) { o.Library = "/nowhere.so" }, []string{"/nowhere.so", "make deps"}},
		"no such address":  {func(o *engine.Options) { o.TCPAddress, o.HTTPAddress = "192.0.2.1:9000", "192.0.2.1:8123" }, []string{"192.0.2.1:9000", "another port"}},
		"one port for two": {func(o *engine.Options) { o.TCPAddress = testbin.FreeAddress(t); o.HTTPAddress = o.TCPAddress }, []string{"both native and HTTP", "another port"}},
		"two hosts":        {func(o *engine.Options) { o.HTTPAddress = "127.0.0.2:8123" }, []string{"127.0.0.2:8123", "same host"}},
		"no host":          {func(o *engine.Options) { o.TCPAddress = ":9000" }, []string{`":9000"`, "127.0.0.1:19000"}},
		"no port":          {func(o *engine.Options) { o.HTTPAddress = "127.0.0.1" }, []string{`"127.0.0.1"`, "127.0.0.1:19000"}},
		"port 0":           {func(o *engine.Options) { o.TCPAddress = "127.0.0.1:0" }, []string{`"127.0.0.1:0"`, "127.0.0.1:19000"}},
		"data not to make": {func(o *engine.Options) {
			o.DataDir, o.TCPAddress, o.HTTPAddress = "/proc/x", testbin.FreeAddress(t), testbin.FreeAddress(t)
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
		if got := must(t, owner, fmt.Sprintf("SELECT toString(count()) FROM (SELECT batch FROM netview.t GROUP BY batch HAVING uniqExact(row) != %d)", rows)); got != "0" {
			t.Errorf("%s batches are there in part", got)
		}
	}
}

const canary = "canary-7c1f"

// TestNobodyReadsAFile: the engine runs with the rights of who started it, often
// root, and its user default needs no password.
func TestNobodyReadsAFile(t *testing.T) {
	ch := testch.Start(t)
	if err := ch.WriteDSNs(); err != nil {
		t.Fatal(err)
	}
	must(t, ch.DSN(engine.Owner), "CREATE DATABASE IF NOT EXISTS netview")
	must(t, ch.DSN(engine.Owner), "CREATE TABLE netview.t (x String) ENGINE = ReplacingMergeTree ORDER BY x")
	file := filepath.Join(t.TempDir(), "canary.proto")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(t.TempDir(), "written")
	attempts := []string{
		"SELECT * FROM file('%[1]s', LineAsString)",
		"SELECT * FROM file('../../../../../../../../%[1]s', 'LineAsString', 'x String')",
		"SELECT * FROM url('file://%[1]s', LineAsString, 'x String')",
		"SELECT * FROM url('http://%[3]s/?query=SELECT+1', LineAsString, 'x String')",
		"SELECT * FROM s3('http://%[3]s/bucket/x', 'a', 'b', LineAsString, 'x String')",
		"SELECT * FROM executable('cat %[1]s', LineAsString, 'x String')",
		"SELECT * FROM sqlite('%[1]s', 't')",
		"SELECT * FROM remote('%[2]s', 'system', 'one', 'default', '')",
		"SELECT * FROM remote('%[2]s', file('%[1]s', 'LineAsString', 'x String'))",
		"SELECT * FROM remote('%[2]s', 'netview', 't', 'netview_owner', '')",
		"SELECT * FROM azureBlobStorage('http://%[3]s/a', 'c', 'b', 'acc', 'a2V5')",
		"SELECT * FROM hdfs('hdfs://%[2]s/x', LineAsString, 'x String')",
		"SELECT * FROM mongodb('%[2]s', 'd', 'c', 'u', 'p', 'x String')",
		"SELECT * FROM redis('%[2]s', 'k', 'k String, x String')",
		"SELECT * FROM mysql('%[2]s', 'd', 't', 'u', 'p')",
		"SELECT * FROM postgresql('%[2]s', 'd', 't', 'u', 'p')",
		"SELECT * FROM `%[1]s`",
		"SELECT * FROM default.`%[1]s`",
		"SELECT * FROM `http://%[3]s/?query=SELECT+1`",
		"DESCRIBE TABLE file('%[1]s')",
		"DESCRIBE TABLE `%[1]s`",
		"EXPLAIN SELECT * FROM file('%[1]s')",
		"SELECT * FROM format(Protobuf, 'x') SETTINGS format_schema = '%[1]s:M'",
		"SELECT * FROM loop(file('%[1]s', 'LineAsString', 'x String')) LIMIT 1",
		"SELECT file('%[1]s')",
		"SELECT file('%[5]s/credentials/netview_owner.password')",
		"SELECT file('%[5]s/credentials/owner.dsn')",
		"SELECT file('/etc/passwd')",
		"SELECT file('/proc/1/environ')",
		"SELECT file('/proc/self/root%[1]s')",
		"SELECT file('../../../../../../../../../%[1]s')",
		"SELECT * FROM deltaLakeLocal('%[1]s')",
		"SELECT * FROM icebergLocal('%[1]s')",
		"SELECT * FROM system.users",
		"SELECT * FROM system.processes",
		"SELECT * FROM system.named_collections",
		"SELECT * FROM system.query_cache",
		"SELECT * FROM system.grants",
		"CREATE TABLE netview.f (x String) ENGINE = File(LineAsString)",
		"CREATE TABLE netview.f (x String) ENGINE = URL('file://%[1]s', LineAsString)",
		"CREATE TABLE netview.f (x String) ENGINE = StripeLog",
		"CREATE TABLE netview.f (x String) ENGINE = Distributed('default', 'system', 'one')",
		"CREATE TABLE netview.f (x String) ENGINE = Executable('cat %[1]s', LineAsString)",
		"CREATE TABLE netview.f (x String) ENGINE = ReplacingMergeTree ORDER BY x SETTINGS disk = disk(type = 'local', path = '%[4]s/')",
		"ALTER TABLE netview.t MODIFY SETTING disk = disk(type = 'local', path = '%[4]s/')",
		"CREATE VIEW netview.v AS SELECT file('%[1]s') AS x",
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
		"ALTER USER netview_reader SETTINGS readonly = 0",
		"EXECUTE AS netview_owner SELECT 1",
		"GRANT ALL ON *.* TO netview_reader",
		"INSERT INTO FUNCTION file('%[4]s', 'LineAsString', 'x String') SELECT 'x'",
		"INSERT INTO netview.t FROM INFILE '%[1]s' FORMAT LineAsString",
		"SELECT 'x' INTO OUTFILE '%[4]s'",
		"BACKUP DATABASE netview TO File('%[4]s')",
		"RESTORE DATABASE netview FROM File('%[1]s')",
		"ATTACH TABLE netview.f FROM '%[1]s' (x String) ENGINE = ReplacingMergeTree ORDER BY x",
		"SYSTEM SHUTDOWN",
		"SYSTEM STOP LISTEN HTTP",
		"KILL QUERY WHERE 1",
	}
	// An attempt that fails for another reason, of a typing error say, shows nothing.
	refusals := []string{
		"Not enough privileges", "readonly mode", "Quota for user `default`", "Maximum parse depth (8) exceeded", // by rights
		"Permission denied", "Read access is denied", "unable to open database file", // by the kernel
		"inside user scripts folder", "custom_local_disks_base_directory", "INTO OUTFILE is not allowed", "IMPERSONATE feature is disabled", "backups.allowed_path", "must be inside",
	}
	o := ch.Options()
	for _, user := range []string{"default", engine.Owner, engine.Writer, engine.Reader} {
		for _, attempt := range attempts {
			statement := fmt.Sprintf(attempt, file, o.TCPAddress, o.HTTPAddress, written, o.DataDir)
			statement, _, _ = strings.Cut(statement, "%!(EXTRA")
			ways := dsns(ch, user)
			if strings.Contains(statement, "INFILE") || strings.Contains(statement, "OUTFILE") {
				ways = ways[1:] // in the native protocol this is the client's work
			}
			for _, dsn := range ways {
				got, err := query(dsn, statement)
				switch {
				case err == nil || strings.Contains(err.Error(), canary):
					t.Errorf("%s may do %s (%q)", user, statement, got)
				case !slices.ContainsFunc(refusals, func(refusal string) bool { return strings.Contains(err.Error(), refusal) }):
					t.Errorf("%s is not refused but fails: %s: %v", user, statement, err)
				}
			}
		}
	}
	if _, err := os.Stat(written); err == nil {
		t.Error("a file was written")
	}
}

// TestUnconfined: what --unconfined warns of is so, hence [TestNobodyReadsAFile]
// would see it.
func TestUnconfined(t *testing.T) {
	ch := testch.Start(t)
	ch.Kill()
	options := ch.Options()
	options.Unconfined = true
	file := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := engine.Start(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	if got := must(t, server.DSN(engine.Reader), "SELECT file('"+file+"')"); got != canary {
		t.Errorf("file() gives %q", got)
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
		{"DROP TABLE IF EXISTS netview.n", "o"},
		{"SELECT toString(count()) FROM system.tables WHERE database = 'system' AND name = 'users'", "owr"}, // lists what one may see
		{"SELECT toString(count()) FROM system.parts", "o"},
		{"SELECT toString(count()) FROM system.users", ""},
		{"SELECT toString(count()) FROM system.processes", ""},
		{"CREATE DATABASE other", ""},
		{"DROP DATABASE default", ""},
		{"INSERT INTO default.n VALUES (1)", ""},
		{"SYSTEM STOP LISTEN HTTP", ""},
		{"CREATE TABLE default.n (x UInt64) ENGINE = ReplacingMergeTree ORDER BY x", ""},
		{"SELECT toString(1) SETTINGS max_execution_time = 5", "owr"}, // what Grafana sends
		{"SELECT toString(1) SETTINGS max_memory_usage = 1000000000", "ow"},
		{"SELECT toString(1) SETTINGS readonly = 0", "ow"},
		{"SELECT toString(throwIf(getSetting('max_execution_time') != 60))", "r"}, // its limit, when it sends none
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
	ch.Kill()
	parent := command(t, ch.Options())
	defer func() {
		_ = parent.Process.Signal(syscall.SIGTERM)
		if err := parent.Wait(); err != nil {
			t.Error(err)
		}
	}()
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
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s holds a password and has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || holding != 2 {
		t.Errorf("%d files hold the password, not a .password and a .dsn (%v)", holding, err)
	}
	for _, pid := range []int{parent.Process.Pid, child(parent.Process.Pid)} {
		for _, file := range []string{"cmdline", "environ"} {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
			if err != nil || len(text) == 0 || strings.Contains(string(text), options.Auth.Password) {
				t.Errorf("%s of %d: %q %v", file, pid, text, err)
			}
		}
	}
}

// TestDSNsAreWhole: `netview run` reads them while a restarted engine writes them
// anew, and must never find half of one.
func TestDSNsAreWhole(t *testing.T) {
	s := testch.Start(t)
	if err := s.WriteDSNs(); err != nil {
		t.Fatal(err)
	}
	writer := engine.DSNFile(s.Options().DataDir, engine.Writer)
	done := make(chan error)
	go func() {
		defer close(done)
		for range 200 {
			if err := s.WriteDSNs(); err != nil {
				done <- err
				return
			}
		}
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil || reads == 0 {
				t.Fatalf("%d reads, %v", reads, err)
			}
			return
		default:
		}
		text, err := os.ReadFile(writer)
		if want := s.DSN(engine.Writer) + "\n"; err != nil || string(text) != want {
			t.Fatalf("read %q (%v), want %q", text, err, want)
		}
	}
}
