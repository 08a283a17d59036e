package engine

import (
	"errors"
	"fmt"
	"path/filepath"

	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// child is what the engine's process is told.
type child struct {
	Library, DataDir string
	Ports            []uint16 // that it listens on
	// Confined is true when the process need not confine itself (any more).
	Confined bool
}

// store and home are the folders below the data directory that the engine writes.
func store(dataDir string) string { return filepath.Join(dataDir, "store") }
func home(dataDir string) string  { return filepath.Join(dataDir, "home") }

// ErrNoLandlock says that the kernel cannot confine the engine.
var ErrNoLandlock = errors.New("this kernel has no Landlock of version 2 (Linux 5.19 or later, not disabled at boot), " +
	"without which anybody who reaches the engine's ports could read files with the rights of this user: " +
	"use a ClickHouse server (NETVIEW_CLICKHOUSE_DSN), or accept that with --unconfined")

// canConfine returns [ErrNoLandlock] where [child.confine] would fail. The first
// version of Landlock will not do: it forbids every rename between directories,
// which the engine needs.
func canConfine() error {
	if version, err := llsyscall.LandlockGetABIVersion(); err != nil || version < 2 {
		return ErrNoLandlock
	}
	return nil
}

// Rights to files, in the words of landlock(7).
const (
	readFile   = llsyscall.AccessFSReadFile
	readDir    = llsyscall.AccessFSReadFile | llsyscall.AccessFSReadDir
	execute    = llsyscall.AccessFSExecute
	writeFile  = llsyscall.AccessFSReadFile | llsyscall.AccessFSWriteFile
	neverGiven = llsyscall.AccessFSExecute | llsyscall.AccessFSMakeChar | llsyscall.AccessFSMakeBlock
)

// handled are the rights that version 2 of Landlock can take.
const handled = llsyscall.AccessFSRefer | (llsyscall.AccessFSRefer - 1)

// confine takes every right to files and ports from the calling thread, and from
// what it executes, but those that the engine needs. Grants do not suffice: in
// clickhouse-local, which the engine is, the function file() reads any file for
// any user.
//
// The credentials are not among what it may read, and /proc only as far as it
// concerns itself: the environment of other processes may hold DSNs.
//
// go-landlock's own Restrict would take all threads, which it cannot in a
// program that loads C libraries without cgo.
func (c *child) confine(executable string) error {
	version, err := llsyscall.LandlockGetABIVersion()
	if err != nil {
		return err
	}
	attributes := llsyscall.RulesetAttr{HandledAccessFS: handled}
	if version >= 3 {
		attributes.HandledAccessFS |= llsyscall.AccessFSTruncate
	}
	if version >= 4 {
		attributes.HandledAccessNet = llsyscall.AccessNetBindTCP | llsyscall.AccessNetConnectTCP
	}
	ruleset, err := llsyscall.LandlockCreateRuleset(&attributes, 0)
	if err != nil {
		return fmt.Errorf("making a Landlock ruleset: %w", err)
	}
	defer unix.Close(ruleset)

	all := attributes.HandledAccessFS &^ neverGiven
	for _, rule := range []struct {
		rights uint64
		paths  []string
	}{
		{readFile | execute, []string{executable}},
		{readFile, []string{c.Library, filepath.Join(c.DataDir, configFile), filepath.Join(c.DataDir, usersFile)}},
		{readDir | execute, []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64"}},
		{readDir, []string{"/usr/share/zoneinfo", "/proc/self", "/proc/sys", "/sys/devices/system", "/sys/fs/cgroup"}},
		{readFile, []string{"/etc/ld.so.cache", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/dev/urandom", "/dev/random"}},
		{writeFile, []string{"/dev/null", "/dev/tty"}},
		{all, []string{store(c.DataDir), home(c.DataDir)}},
	} {
		for _, path := range rule.paths {
			if err := allowPath(ruleset, path, rule.rights); err != nil {
				return err
			}
		}
	}
	for _, port := range c.Ports {
		rule := llsyscall.NetPortAttr{AllowedAccess: llsyscall.AccessNetBindTCP, Port: uint64(port)}
		if err := llsyscall.LandlockAddNetPortRule(ruleset, &rule, 0); err != nil && version >= 4 {
			return fmt.Errorf("allowing port %d: %w", port, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	return llsyscall.LandlockRestrictSelf(ruleset, 0)
}

// allowPath allows rights to what lies at a path and below it. A path that is
// not there needs no rule.
func allowPath(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	rule := llsyscall.PathBeneathAttr{AllowedAccess: rights, ParentFd: fd}
	if err := llsyscall.LandlockAddPathBeneathRule(ruleset, &rule, 0); err != nil {
		return fmt.Errorf("allowing %s: %w", path, err)
	}
	return nil
}
