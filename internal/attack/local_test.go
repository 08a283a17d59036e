package attack

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/netview-project/netview/internal/testbin"
	"github.com/netview-project/netview/otelreceiver/clickhouse"
	"github.com/netview-project/netview/otelreceiver/clickhouse/engine"
)

// nobody is a user without rights.
const nobody = 65534

// asNobody runs a program as a user without rights and returns what it says.
func asNobody(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Dir, command.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, _ := command.CombinedOutput() // its failure is what is wanted
	return string(out)
}

// TestALocalUser without rights reads nothing of the spool, of keys, credentials and
// the environment, and of the embedded ClickHouse, all of which stand in directories
// that everybody may pass.
func TestALocalUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("takes root, to become another user")
	}
	f := startFort(t)
	f.certify("sensor", "web-1")
	web := f.startSensor("web-1", "web-1", "grpcs")
	web.beats(2)

	if err := f.clickhouse.WriteDSNs(); err != nil {
		t.Fatal(err)
	}
	data := f.clickhouse.Options().DataDir
	for _, dir := range []string{f.dir, web.spool, data} {
		for ; dir != "/"; dir = filepath.Dir(dir) { // so that the files' own modes are what counts
			info, err := os.Stat(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, info.Mode().Perm()|0o055); err != nil {
				t.Fatal(err)
			}
			if info.Mode()&fs.ModeSticky != 0 {
				break
			}
		}
	}
	readable := asNobody(t, "find", f.dir, web.spool, data, "-type", "f", "-readable")
	for line := range strings.Lines(readable) {
		file := strings.TrimSpace(line)
		if strings.HasPrefix(file, "find: ") || strings.HasSuffix(file, ".crt") && filepath.Dir(file) == f.dir {
			continue // what it may not look into; certificates are public
		}
		t.Errorf("anybody may read %s", file)
	}
	for _, p := range []*testbin.Program{f.collector, web.sensor} {
		environment := fmt.Sprintf("/proc/%d/environ", p.Command.Process.Pid)
		if out := asNobody(t, "cat", environment); !strings.Contains(out, "Permission denied") {
			t.Errorf("anybody may read %s", environment)
		}
	}
	for _, user := range []string{"default", engine.Reader, engine.Writer, engine.Owner} {
		for _, statement := range []string{"SELECT 'read'", "SELECT file('" + data + "/users.xml')", "SELECT 'read' FROM system.tables LIMIT 1"} {
			conn, err := clickhouse.Open(strings.Replace(f.clickhouse.DSN("nobody"), "nobody", user, 1))
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			if err := conn.QueryRow(t.Context(), statement).Scan(&text); err == nil {
				t.Errorf("without a password %s reads %q by %s", user, text, statement)
			}
			conn.Close()
		}
	}
	conn, err := clickhouse.Open(f.clickhouse.DSN(engine.Reader))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("with its password the reader reads nothing: %v", err)
	}
}
