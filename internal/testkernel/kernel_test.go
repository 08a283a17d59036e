package testkernel

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// bootPatience bounds one machine: emulation takes minutes, a hang for ever.
const bootPatience = 30 * time.Minute

// machine is a kernel, and what runs on it: packages below sensor/, and their tests.
type machine struct {
	name, architecture, kernel, commandLine string
	tests                                   map[string]string
	// lacks matches the tests that must be skipped there, and no others may be.
	lacks string
	// onDemand is one that make test-kernels runs, and make test does not.
	onDemand bool
}

var on = []machine{
	// Without those of getaddrinfo: a longjmp out of a call has failed there once.
	{"5.10", "amd64", "5.10", "lsm=yama,bpf", eventTests, "by_fexit/(inet_csk_accept|udp_sendmsg)|sock_send_length|io_uring_complete|uprobe.multi|TestPacketsLongerThanKept|multishot", true},
	{"6.1", "amd64", "6.1", "", kernelTests, "sock_send_length|uprobe.multi", false},
	{"6.12", "amd64", "6.12", "", kernelTests, "^$", false},
	{"6.1 of arm64", "arm64", "6.1-arm64", "", eventTests, "by_fexit|sock_send_length|uprobe.multi|(?i)lsm", true},
	// Hooks of the LSM can be attached there, and are never called.
	{"6.1 without bpf among the LSMs", "amd64", "6.1", "lsm=landlock,yama", map[string]string{"probe": "TestCandidates/lsm"}, "lsm_by", false},
}

// anywhere matches the tests that are skipped in every machine: none has objdump, nor
// nft with its modules, and one is not for the way that its parent takes.
const anywhere = "^TestReturns$|^TestTranslated$|^TestReturnAddress/a_thread_that_is_cancelled"

// kernelTests are those that ask the kernel for something, and eventTests those of
// them that need no programs in C, which are of this host's architecture.
var (
	kernelTests = map[string]string{"": eventTests[""], "probe": eventTests["probe"], "socket": eventTests["socket"],
		"libc": "TestLookups|TestReturnAddress|TestRoot|TestExec|TestTwins|TestReplaced"}
	eventTests = map[string]string{
		"":       "TestHappenings|TestListen|TestUDPConnect|TestUring|TestLSM|TestLiveFlows|TestOlderConnections|TestMissedEnd|TestEnds|TestFlood",
		"probe":  ".",
		"socket": "TestDiag",
	}
)

// TestKernels runs tests of the sensor on other kernels: the same that run on
// this one. Each of them is reported as a test of its own.
func TestKernels(t *testing.T) {
	kernels := needed(t)
	pattern, demanded := os.LookupEnv("NETVIEW_KERNEL")
	wanted := regexp.MustCompile(pattern)
	dir, built := t.TempDir(), map[string]string{}
	children := compile(t, dir)
	if !wanted.MatchString(withSystemd) && !slices.ContainsFunc(on, func(k machine) bool { return wanted.MatchString(k.name) }) {
		t.Fatalf("no kernel is called %q", pattern)
	}
	for _, k := range on {
		if !wanted.MatchString(k.name) {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			if k.onDemand && !demanded {
				t.Skip("it runs by `make test-kernels` only")
			}
			m := Machine{Architecture: k.architecture, Kernel: filepath.Join(kernels, k.kernel), Tools: "/", CommandLine: k.commandLine}
			needed := []string{filepath.Join(m.Kernel, "complete")}
			if k.architecture != runtime.GOARCH {
				m.Tools = filepath.Join(kernels, "tools-"+k.architecture)
				needed = append(needed, filepath.Join(m.Tools, "complete"))
			}
			if _, err := exec.LookPath(hardware[k.architecture].program); err != nil {
				t.Skipf("%v: the kernel cannot be run (see make kernels)", err)
			}
			for _, path := range needed {
				if _, err := os.Stat(path); err != nil {
					t.Skipf("the kernel is not there: %v (see make kernels)", err)
				}
			}
			if k.architecture == runtime.GOARCH {
				m.Children = children
			}
			for _, of := range []string{"probe", "", "socket", "libc"} {
				pattern := k.tests[of]
				if pattern == "" || of == "libc" && m.Children == nil {
					continue
				}
				if only := os.Getenv("NETVIEW_KERNEL_RUN"); only != "" {
					pattern = only
				}
				name := k.architecture + "-" + of
				if built[name] == "" {
					built[name] = build(t, dir, k.architecture, filepath.Join("sensor", of))
				}
				m.Programs = append(m.Programs, Program{Name: "sensor-" + of + ".test", Path: built[name], Arguments: []string{"-test.v=test2json", "-test.timeout=28m", "-test.run=" + pattern}})
			}
			t.Parallel() // a machine has one CPU of the host
			run(t, &m, regexp.MustCompile(anywhere+"|"+k.lacks))
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
	for _, program := range []string{"qemu-system-x86_64", "busybox"} {
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
// here, for each libc and this architecture; none where a compiler is missing.
func compile(t *testing.T, dir string) (programs map[string]string) {
	t.Helper()
	programs = map[string]string{}
	for _, compiler := range []string{"gcc", "musl-gcc"} {
		if _, err := exec.LookPath(compiler); err != nil {
			t.Logf("%v: the tests of sensor/libc do not run on the other kernels", err)
			return nil
		}
		name := compiler + "-lookup"
		path := filepath.Join(dir, name)
		if out, err := exec.Command(compiler, "-O2", "-fexceptions", "-pthread", "-o", path, "../../sensor/libc/testdata/lookup.c").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", compiler, err, out)
		}
		programs["programs/"+name] = path
	}
	return programs
}

// build makes the test program of a package of this module, in a directory.
func build(t *testing.T, dir, architecture, of string) string {
	t.Helper()
	path := filepath.Join(dir, architecture+"-"+strings.ReplaceAll(of, "/", "-")+".test")
	build := exec.Command("go", "test", "-c", "-ldflags", "-s -w", "-o", path, "../../"+of)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+architecture)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the tests of %s: %v\n%s", of, err, out)
	}
	return path
}

// run boots a machine and reports its tests as tests of t.
func run(t *testing.T, m *Machine, lacks *regexp.Regexp) {
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
		list, whole := results(t, text)
		if !whole {
			t.Errorf("%s was cut short:\n%s", p.Name, text)
		}
		for _, e := range list {
			t.Run(p.Name+"/"+e.Test, func(t *testing.T) {
				switch skipped := e.Action == "skip"; {
				case e.Action == "fail", skipped != lacks.MatchString(e.Test):
					t.Errorf("%s\n%s", e.Action, e.Output)
				case skipped:
					t.Skip(e.Output)
				default:
					passed++
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

// results reads the output of a test program, and says whether it came to its end.
func results(t *testing.T, text []byte) (list []result, whole bool) {
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
			whole = whole || e.Action == "pass" || e.Action == "fail"
		case e.Action == "output":
			output[e.Test] += e.Output
		case e.Action == "pass", e.Action == "skip", e.Action == "fail":
			e.Output = output[e.Test]
			list = append(list, e)
		}
	}
	return list, whole
}
