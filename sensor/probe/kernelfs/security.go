package kernelfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SecurityModules are those that the kernel asks, such as apparmor and bpf. It fails
// where the sensor can neither mount securityfs nor finds it mounted, and on kernels
// without modules.
func SecurityModules() ([]string, error) {
	dir, done, err := View("securityfs", unix.SECURITYFS_MAGIC, "/sys/kernel/security")
	if err != nil {
		return nil, err
	}
	defer done()
	text, err := os.ReadFile(filepath.Join(dir, "lsm"))
	if err != nil {
		return nil, fmt.Errorf("the list of the kernel's security modules: %w", err)
	}
	return strings.Split(strings.TrimSpace(string(text)), ","), nil
}
