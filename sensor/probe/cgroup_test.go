package probe

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/internal/testns"
)

// inCgroup tells this test that it is the process in a namespace, and where the root
// of all cgroups is mounted.
const inCgroup = "NETVIEW_TEST_IN_CGROUP"

// TestCgroupNamespace shows another cgroup as the root, which is not taken for the
// root of all: that is found where it is mounted.
func TestCgroupNamespace(t *testing.T) {
	testns.SkipUnlessRoot(t)
	if os.Getenv(inCgroup) != "" {
		if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", cgroupPlaces[0], "tmpfs", 0, "")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := cgroupRoot(); !errors.Is(err, errCgroup) {
			t.Errorf("the root of the cgroup namespace: %v", err)
		}
		if err := unix.Mount(os.Getenv(inCgroup), cgroupPlaces[0], "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if dir, _, err := cgroupRoot(); dir != cgroupPlaces[0] {
			t.Errorf("the root that is mounted: %q, %v", dir, err)
		}
		return
	}
	if _, done, err := cgroupRoot(); err != nil {
		t.Skipf("no root of the cgroups here: %v", err)
	} else {
		done()
	}
	mount := t.TempDir()
	if err := unix.Mount("cgroup2", mount, "cgroup2", 0, ""); err != nil {
		t.Skipf("cgroup2 cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	child := filepath.Join(mount, "netview-"+strings.ToLower(t.Name()))
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Skipf("no cgroup can be made: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(child); err != nil {
			t.Error(err)
		}
	})
	dir, err := os.Open(child)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	test.Env = append(os.Environ(), inCgroup+"="+mount)
	test.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Cloneflags: unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS}
	if out, err := test.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("in a cgroup namespace: %v\n%s", err, out)
	}
}
