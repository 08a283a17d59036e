// Package testkernel runs test programs on other kernels than the host's, in
// virtual machines without a network.
package testkernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is a test program, and what it is told.
type Program struct {
	// Name of it in the machine.
	Name string
	// Path of the program on the host; it is linked statically.
	Path      string
	Arguments []string
}

// Machine is a kernel with a root file system in memory.
type Machine struct {
	// Architecture as Go names it: amd64 or arm64.
	Architecture string
	// Kernel is the directory to which the package of a kernel was unpacked, Tools
	// that with bash, busybox and ip of the architecture: the host's root, or one
	// to which their packages were unpacked.
	Kernel, Tools string
	// CommandLine is added to that of the kernel.
	CommandLine string
	// Programs run one after the other.
	Programs []Program
	// Children are programs of the host that they run, by their paths in the machine.
	Children map[string]string
	// Files of the host that they need beside these, likewise.
	Files map[string]string
	// System is a directory to which Debian's systemd was unpacked, with all that it
	// needs. It is the first process then, and the programs run when it has started
	// what multi-user.target wants; before that the script at /setup, for which Files
	// has to care. Without it busybox is.
	System string
	// Forward has addresses of this host by the one at which the machine reaches
	// each, such as 10.0.2.100:9000; it reaches nothing else.
	Forward map[string]string
}

// modules that the tests need, each after those that it needs itself. A kernel
// may have them built in.
var modules = []string{"inet_diag", "tcp_diag", "veth", "failover", "net_failover", "virtio_net", "overlay"}

// tools that the tests use, and where Debian has such.
var (
	tools    = []string{"busybox", "bash", "ip"} // the first needs nothing
	programs = []string{"bin", "sbin", "usr/bin", "usr/sbin"}
)

// hardware is what QEMU emulates, by architecture, and where Debian has the
// libraries of one.
var hardware = map[string]struct {
	program   string
	arguments []string
	console   string
	libraries []string
}{
	"amd64": {"qemu-system-x86_64", []string{"-cpu", "max"}, "ttyS0", []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"}},
	"arm64": {"qemu-system-aarch64", []string{"-machine", "virt", "-cpu", "cortex-a57"}, "ttyAMA0", []string{"lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"}},
}

// tools that the machine gets: one with a System has other libraries than they need.
func (m *Machine) tools() []string {
	if m.System != "" {
		return tools[:1]
	}
	return tools
}

// Run boots the machine, and returns what it prints when it has powered itself
// off. dir is for files of its own. An error says that it did not come that far.
func (m *Machine) Run(ctx context.Context, dir string) (output []byte, err error) {
	root := filepath.Join(dir, "root")
	if err := m.fill(root); err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, "initrd")
	if err := pack(root, initrd); err != nil {
		return nil, err
	}
	kernel, err := only(filepath.Join(m.Kernel, "boot/vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	var console bytes.Buffer
	// One thread for all CPUs: with one for each, a kernel that patched its own code
	// has died of it.
	h := hardware[m.Architecture]
	qemu := exec.CommandContext(ctx, h.program, append(h.arguments[:len(h.arguments):len(h.arguments)], "-accel", "tcg,thread=single", "-smp", "2", "-m", m.memory(),
		"-nographic", "-no-reboot", "-kernel", kernel, "-initrd", initrd, "-append", "console="+h.console+" quiet loglevel=3 panic=-1 mitigations=off "+m.CommandLine)...)
	qemu.Args = append(qemu.Args, m.network()...)
	qemu.Stdout, qemu.Stderr = &console, &console
	if err := qemu.Run(); err != nil {
		return console.Bytes(), fmt.Errorf("running the kernel %s: %w", kernel, errors.Join(err, ctx.Err()))
	}
	return console.Bytes(), nil
}

// memory of the machine in MiB: a System is in it several times while it starts.
func (m *Machine) memory() string {
	if m.System != "" {
		return "2560"
	}
	return "1536"
}

// network is the machine's, in the words of QEMU.
func (m *Machine) network() []string {
	if len(m.Forward) == 0 {
		return []string{"-nic", "none"}
	}
	network := "user,id=host,restrict=on"
	for in, out := range m.Forward {
		host, port, _ := strings.Cut(out, ":")
		network += fmt.Sprintf(",guestfwd=tcp:%s-cmd:busybox nc %s %s", in, host, port)
	}
	return []string{"-netdev", network, "-device", "virtio-net-pci,netdev=host,romfile="}
}

// fill makes the root file system.
func (m *Machine) fill(root string) error {
	if m.System != "" {
		if out, err := exec.Command("cp", "-a", m.System, root).CombinedOutput(); err != nil {
			return fmt.Errorf("copying systemd: %w: %s", err, out)
		}
	}
	for _, name := range []string{"bin", "modules", "tests", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"passwd": "root:x:0:0:root:/:/bin/sh\n", "group": "root:x:0:\n", "hosts": "127.0.0.1 localhost\n"} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, script := range map[string][]byte{"init": initScript, "run.sh": runScript} {
		if err := os.WriteFile(filepath.Join(root, name), script, 0o755); err != nil {
			return err
		}
	}
	for _, tool := range m.tools() {
		path, err := find(m.Tools, programs, tool)
		if err != nil {
			return err
		}
		if err := m.copyProgram(path, root, filepath.Join("bin", tool)); err != nil {
			return err
		}
	}
	for to, from := range m.Children {
		if err := m.copyProgram(from, root, to); err != nil {
			return err
		}
	}
	for to, from := range m.Files {
		if err := copyFile(from, filepath.Join(root, to)); err != nil {
			return err
		}
	}
	for i, module := range modules {
		if err := m.copyModule(module, filepath.Join(root, "modules", fmt.Sprintf("%02d-%s.ko", i, module))); err != nil {
			return err
		}
	}
	for i, p := range m.Programs {
		if err := copyFile(p.Path, filepath.Join(root, "bin", p.Name)); err != nil {
			return err
		}
		script := fmt.Sprintf("exec /bin/%s '%s' 2>&1\n", p.Name, strings.Join(p.Arguments, "' '"))
		if err := os.WriteFile(filepath.Join(root, "tests", fmt.Sprintf("%02d-%s", i, p.Name)), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// copyModule copies a module of the kernel, unpacked; none where it is built in.
func (m *Machine) copyModule(name, to string) error {
	var found string
	err := filepath.WalkDir(filepath.Join(m.Kernel, "lib/modules"), func(path string, entry os.DirEntry, err error) error {
		if stem, _, _ := strings.Cut(filepath.Base(path), "."); stem == name {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		return err
	}
	if !strings.HasSuffix(found, ".xz") {
		return copyFile(found, to)
	}
	unpacked, err := exec.Command("busybox", "xzcat", found).Output()
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", found, err)
	}
	return os.WriteFile(to, unpacked, 0o644)
}

// copyProgram copies a program, with what it loads.
func (m *Machine) copyProgram(path, root, to string) error {
	return errors.Join(copyFile(path, filepath.Join(root, to)), m.copyLibraries(path, root))
}

// copyLibraries copies the loader of a program, and the libraries of one or of another
// library, to where it is on its own host.
func (m *Machine) copyLibraries(path, root string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer file.Close()
	names, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("reading the libraries of %s: %w", path, err)
	}
	if section := file.Section(".interp"); section != nil {
		name, err := section.Data()
		if err != nil {
			return fmt.Errorf("reading the loader of %s: %w", path, err)
		}
		loader := string(bytes.TrimRight(name, "\x00"))
		if err := copyFile(filepath.Join(m.Tools, loader), filepath.Join(root, loader)); err != nil {
			return err
		}
		if strings.HasPrefix(filepath.Base(loader), "ld-musl-") { // which is its libc too
			return nil
		}
	}
	for _, name := range names {
		library, err := find(m.Tools, hardware[m.Architecture].libraries, name)
		if err != nil {
			return err
		}
		to := filepath.Join(root, strings.TrimPrefix(library, m.Tools))
		if _, err := os.Stat(to); err == nil {
			continue
		}
		if err := errors.Join(copyFile(library, to), m.copyLibraries(library, root)); err != nil {
			return err
		}
	}
	return nil
}

// find a file in one of the directories of a tree.
func find(tree string, directories []string, name string) (string, error) {
	for _, dir := range directories {
		path := filepath.Join(tree, dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s in %v of %s", name, directories, tree)
}

// pack makes the archive that a kernel unpacks at its start.
func pack(root, to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := exec.Command("sh", "-c", "find . | busybox cpio -o -H newc")
	var problems bytes.Buffer
	archive.Dir, archive.Stdout, archive.Stderr = root, file, &problems
	if err := archive.Run(); err != nil {
		return fmt.Errorf("packing the root file system: %w: %s", err, &problems)
	}
	return file.Close()
}

func only(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("there are %d files %s, not one (%v)", len(found), pattern, err)
	}
	return found[0], nil
}

func copyFile(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	// A link of the system's may be there, which leads to a file of this host.
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, source)
	return errors.Join(err, file.Close())
}
