package rights

import (
	"fmt"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// KeepToStart drops every capability that the table does not have, and returns the
// names of those that are left.
func KeepToStart() (kept []string, err error) { return keep(func(*Right) bool { return true }) }

// KeepToRun drops every capability that is not needed any more once all is opened
// and attached, and returns the names of those that are left.
func KeepToRun() (kept []string, err error) { return keep(func(r *Right) bool { return r.Kept != "" }) }

// keep drops what is not wanted from all sets of all threads, and forbids that a
// program which is executed gains any. All threads are stopped for it, each by a
// signal: one that the kernel holds in a system call, as in the file system of a
// dead server, would hold up the whole process. So it has to come before the sensor
// touches what belongs to others.
func keep(wanted func(*Right) bool) (kept []string, err error) {
	failed := func(what string, err error) ([]string, error) {
		return nil, fmt.Errorf("%s: %w (--no-drop-capabilities keeps all capabilities)", what, err)
	}
	if _, err := atStart(); err != nil {
		return failed("asking for the capabilities of the sensor", err)
	}
	before, err := cap.GetPID(0)
	if err != nil {
		return failed("asking for the capabilities of the sensor", err)
	}
	names := map[cap.Value]string{}
	for i := range table {
		if wanted(&table[i]) {
			names[table[i].value] = table[i].Name
		}
	}
	after := cap.NewSet() // nothing is inheritable
	var unbound []cap.Value
	for value := cap.Value(0); value < cap.MaxBits(); value++ {
		name := names[value]
		if name == "" {
			unbound = append(unbound, value)
			continue
		}
		for _, flag := range []cap.Flag{cap.Permitted, cap.Effective} {
			has, err := before.GetFlag(flag, value)
			if err != nil {
				return failed("asking for "+name, err)
			}
			if err := after.SetFlag(flag, has, value); err != nil {
				return failed("keeping "+name, err)
			}
			if has && flag == cap.Effective {
				kept = append(kept, name)
			}
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return failed("setting no_new_privs", err)
	}
	// Without the right to it the bounding set stays as it is, which no_new_privs
	// makes harmless.
	if may, _ := before.GetFlag(cap.Effective, cap.SETPCAP); may {
		if err := cap.DropBound(unbound...); err != nil {
			return failed("taking capabilities out of the bounding set", err)
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return failed("clearing the ambient capabilities", err)
	}
	if err := after.SetProc(); err != nil {
		return failed("dropping capabilities", err)
	}
	return kept, nil
}
