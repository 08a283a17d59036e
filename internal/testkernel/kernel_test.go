package testkernel

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bootPatience bounds one machine: emulation takes minutes, a hang for ever.
const bootPatience = 30 * time.Minute

// on says what runs on a kernel: packages below sensor/, and their tests.
var on = []struct {
	name, series, commandLine string
	tests                     map[string]string
}{
	{"6.1", "6.1", "", kernelTests},
	{"6.12", "6.12", "", kernelTests},
	// Hooks of the LSM can be attached there, and are never called.
	{"6.1 without bpf among the LSMs", "6.1", "lsm=landlock,yama", map[string]string{"probe": "TestCandidates/lsm"}},
}

// kernelTests are those that ask the kernel for something.
var kernelTests = map[string]string{
	"":       "TestHappenings|TestListen|TestUDPConnect|TestUring|TestLSM|TestLiveFlows|TestOlderConnections|TestMissedEnd|TestEnds|TestFlood",
	"probe":  ".",
	"libc":   "TestLookups|TestReturnAddress|TestRoot|TestExec|TestTwins|TestReplaced",
	"socket": "TestDiag",
}

// TestKernels runs tests of the sensor on other kernels: the same that run on
// this one. Each of them is reported as a test of its own.
func TestKernels(t *testing.T) {
	kernels := needed(t)
	wanted := regexp.MustCompile(os.Getenv("NETVIEW_KERNEL"))
	dir, built := t.TempDir(), map[string]string{}
	files := compile(t, dir)
	for of := range kernelTests {
		built[of] = build(t, dir, filepath.Join("sensor", of))
	}
	for _, k := range on {
		if !wanted.MatchString(k.name) {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			m := Machine{Kernel: filepath.Join(kernels, k.series), CommandLine: k.commandLine, Files: files}
			if _, err := os.Stat(filepath.Join(m.Kernel, "complete")); err != nil {
				t.Skipf("the kernel is not there: %v (see make kernels)", err)
			}
			t.Parallel() // a machine has one CPU of the host
			for _, of := range []string{"probe", "", "socket", "libc"} {
				pattern := k.tests[of]
				if pattern == "" {
					continue
				}
				if only := os.Getenv("NETVIEW_KERNEL_RUN"); only != "" {
					pattern = only
				}
				m.Programs = append(m.Programs, Program{Name: "sensor-" + of + ".test", Path: built[of], Arguments: []string{"-test.v=test2json", "-test.timeout=28m", "-test.run=" + pattern}})
			}
			run(t, &m)
		})
	}
}

// needed skips where no machine can be run, and returns where the kernels are.
func needed(t *testing.T) (kernels string) {
	t.Helper()
	kernels = os.Getenv("NETVIEW_KERNELS")
	if kernels == "" {
		t.Skip("NETVIEW_KERNELS does not say where other kernels are: run `make test-kernels`")
	}
	for _, program := range []string{"qemu-system-x86_64", "busybox", "ldd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: other kernels cannot be run (see make kernels)", err)
		}
	}
	// What is opened here is what an earlier result must not be taken from the cache
	// for: the go command does not know what runs in the machines.
	if err := filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".o")) {
			_, err = os.ReadFile(path)
		}
		if entry != nil && entry.IsDir() && (entry.Name() == "var" || strings.HasPrefix(entry.Name(), "current-")) {
			return filepath.SkipDir
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return kernels
}

// compile makes the programs in C of sensor/libc, as its tests do where they run
// here, for each libc whose compiler there is.
func compile(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, compiler := range []string{"gcc", "musl-gcc"} {
		if _, err := exec.LookPath(compiler); err != nil {
			t.Logf("%v: its programs do not run on the other kernels", err)
			continue
		}
		name := compiler + "-lookup"
		path := filepath.Join(dir, name)
		if out, err := exec.Command(compiler, "-O2", "-fexceptions", "-pthread", "-o", path, "../../sensor/libc/testdata/lookup.c").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", compiler, err, out)
		}
		files["programs/"+name] = path
		if compiler == "musl-gcc" {
			loader, err := only("/lib/ld-musl-*.so.1")
			if err != nil {
				t.Fatal(err)
			}
			files[loader] = loader
			continue
		}
		libraries, err := Libraries(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range libraries {
			files[file] = file
		}
	}
	return files
}

// build makes the test program of a package of this module, in a directory.
func build(t *testing.T, dir, of string) string {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(of, "/", "-")+".test")
	build := exec.Command("go", "test", "-c", "-ldflags", "-s -w", "-o", path, "../../"+of)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the tests of %s: %v\n%s", of, err, out)
	}
	return path
}

// run boots a machine and reports its tests as tests of t.
func run(t *testing.T, m *Machine) {
	ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
	defer cancel()
	began := time.Now()
	console, err := m.Run(ctx, t.TempDir())
	console = bytes.ReplaceAll(console, []byte("\r\n"), []byte("\n"))
	if err != nil {
		t.Fatalf("%v; it said:\n%s", err, console)
	}
	version, _, _ := strings.Cut(string(console[max(0, bytes.Index(console, []byte("Linux version"))):]), "\n")
	t.Logf("%s: %.0f s", version, time.Since(began).Seconds())
	passed := 0
	for _, p := range m.Programs {
		_, rest, begun := bytes.Cut(console, []byte("-"+p.Name+"\n"))
		text, _, ended := bytes.Cut(rest, []byte("=== netview ends"))
		if !begun || !ended {
			t.Fatalf("%s did not run to its end; the machine said:\n%s", p.Name, console)
		}
		for _, e := range results(t, text) {
			t.Run(p.Name+"/"+e.Test, func(t *testing.T) {
				switch e.Action {
				case "pass":
					passed++
				case "skip":
					t.Skip(e.Output)
				default:
					t.Errorf("%s\n%s", e.Action, e.Output)
				}
			})
		}
		if bytes.Contains(text, []byte("panic:")) {
			t.Errorf("%s:\n%s", p.Name, text)
		}
	}
	if passed == 0 {
		t.Errorf("no test passed; the machine said:\n%s", console)
	}
}

// result of a test in a machine, with all that it printed.
type result struct{ Test, Action, Output string }

// results reads the output of a test program.
func results(t *testing.T, text []byte) (list []result) {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json")
	convert.Stdin = bytes.NewReader(text)
	out, err := convert.Output()
	if err != nil {
		t.Fatalf("go tool test2json: %v", err)
	}
	output := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var e result
		if err := decoder.Decode(&e); err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Test == "":
		case e.Action == "output":
			output[e.Test] += e.Output
		case e.Action == "pass", e.Action == "skip", e.Action == "fail":
			e.Output = output[e.Test]
			list = append(list, e)
		}
	}
	return list
}
