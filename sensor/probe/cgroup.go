package probe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/netview-project/netview/sensor/probe/kernelfs"
)

// errCgroup is why a program at the root of the sensor's cgroups would not see
// the whole host.
var errCgroup = errors.New("the sensor is in a cgroup namespace of its own, and does not see the root of the host's cgroups")

// cgroupPlaces are where hosts have cgroup2, and containers that of the host.
var cgroupPlaces = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// cgroupRoot is the directory of the root of all cgroups of version 2, of which
// every process is a part, also where controllers are used in version 1.
func cgroupRoot() (dir string, done func(), err error) {
	dir, done, err = kernelfs.View("cgroup2", unix.CGROUP2_SUPER_MAGIC, cgroupPlaces...)
	if err != nil {
		return "", nil, err
	}
	if err = isRoot(dir); err == nil {
		return dir, done, nil
	}
	done()
	for _, place := range cgroupPlaces {
		if kernelfs.Is(place, unix.CGROUP2_SUPER_MAGIC) && isRoot(place) == nil {
			return place, func() {}, nil
		}
	}
	return "", nil, err
}

// isRoot looks at the inode of a cgroup's directory, which is 1 for the root of all
// (fs/kernfs/dir.c). A namespace shows another cgroup as the root.
func isRoot(dir string) error {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return fmt.Errorf("looking at the root of the cgroups: %w", err)
	}
	if stat.Ino != 1 {
		return errCgroup
	}
	return nil
}
