package libc

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestLanguages: programs of other languages, as far as they are installed, which
// call getaddrinfo each in its own way.
func TestLanguages(t *testing.T) {
	w := watch(t, interval)
	dir := t.TempDir()
	// tool skips where it is not there.
	tool := func(t *testing.T, name string) string {
		t.Helper()
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		return path
	}
	build := func(t *testing.T, command *exec.Cmd) {
		t.Helper()
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	for _, tt := range []struct {
		name    string
		command func(*testing.T) []string
		want    []string
	}{
		{"Python", func(t *testing.T) []string {
			return []string{tool(t, "python3"), "-c", "import socket; socket.getaddrinfo('two.test', 443); socket.create_server(('127.0.0.1', 0)); socket.gethostbyname('one.test')"}
		}, []string{"two.test 443 ok [192.0.2.2 192.0.2.3] by python3", "one.test - ok [192.0.2.1] by python3"}},
		{"perl", func(t *testing.T) []string {
			return []string{tool(t, "perl"), "-MSocket=getaddrinfo", "-e", "my ($err) = getaddrinfo('two.test', 'http'); die $err if $err"}
		}, []string{"two.test http ok [192.0.2.2 192.0.2.3] by perl"}},
		{"Go with cgo", func(t *testing.T) []string {
			file := filepath.Join(dir, "with-cgo")
			tool(t, "gcc")
			command := exec.Command("go", "build", "-tags", "netcgo", "-o", file, "./testdata/cgo")
			command.Env = append(os.Environ(), "CGO_ENABLED=1")
			build(t, command)
			return []string{file, "one.test", "two.test", "six.test"}
		}, []string{"20 × one.test - ok [192.0.2.1] by with-cgo", "20 × two.test - ok [192.0.2.2 192.0.2.3] by with-cgo", "20 × six.test - ok [2001:db8::6] by with-cgo"}},
		{"Java", func(t *testing.T) []string {
			build(t, exec.Command(tool(t, "javac"), "-d", dir, "testdata/Lookup.java"))
			return []string{tool(t, "java"), "-Xshare:off", "-cp", dir, "Lookup", "two.test"}
		}, []string{"two.test - ok [192.0.2.2 192.0.2.3] by java"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command := tt.command(t)
			s := w.in(t)
			s.run(command...)
			w.expect(s.NS, tt.want...)
		})
	}
	t.Run("a library that comes and goes", func(t *testing.T) {
		file, library := compiled(t, "gcc", "lookup.c"), compiled(t, "gcc", "ask.c", "-shared", "-fPIC")
		s := w.in(t)
		s.run(file, "dlopen", library)
		w.expect(s.NS, "5 × 127.0.0.1 - ok [127.0.0.1] by gcc-lookup")
	})
}
