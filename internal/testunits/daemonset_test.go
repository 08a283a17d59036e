package testunits

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/netview-project/netview/sensor/rights"
)

// daemonSet is what is read of deploy/sensor-daemonset.yaml.
type daemonSet struct {
	Spec struct {
		Template struct {
			Spec struct {
				HostPID     bool `yaml:"hostPID"`
				HostNetwork bool `yaml:"hostNetwork"`
				Containers  []struct {
					Command, Args   []string
					Env             []struct{ Name, Value string }
					SecurityContext yaml.Node `yaml:"securityContext"`
					Resources       struct{ Limits struct{ Memory string } }
					VolumeMounts    []struct {
						Name             string
						MountPath        string `yaml:"mountPath"`
						ReadOnly         bool   `yaml:"readOnly"`
						MountPropagation string `yaml:"mountPropagation"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					HostPath struct{ Path string } `yaml:"hostPath"`
				}
			}
		}
	}
}

// securityContext is read whole: a field that is not here fails the test.
type securityContext struct {
	Privileged               bool
	AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
	ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
	RunAsUser                int  `yaml:"runAsUser"`
	Capabilities             struct{ Drop, Add []string }
	SeccompProfile           struct{ Type string } `yaml:"seccompProfile"`
	AppArmorProfile          struct{ Type string } `yaml:"appArmorProfile"`
}

// bundle is an OCI bundle of the container that the DaemonSet asks for, as a kubelet
// and a runtime with private cgroup namespaces would make it.
func bundle(t *testing.T) (dir string) {
	t.Helper()
	text, err := os.ReadFile("/deploy/sensor-daemonset.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d daemonSet
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	var context securityContext
	text, err = yaml.Marshal(&container.SecurityContext)
	if err == nil {
		strict := yaml.NewDecoder(bytes.NewReader(text))
		strict.KnownFields(true)
		err = strict.Decode(&context)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !pod.HostPID || !pod.HostNetwork || context.Privileged || context.AllowPrivilegeEscalation || !context.ReadOnlyRootFilesystem || context.RunAsUser != 0 ||
		!slices.Equal(context.Capabilities.Drop, []string{"ALL"}) || context.SeccompProfile.Type != "RuntimeDefault" || context.AppArmorProfile.Type != "Unconfined" {
		t.Fatalf("this test does not know of %+v", pod)
	}
	var capabilities []string
	for _, name := range context.Capabilities.Add {
		capabilities = append(capabilities, "CAP_"+name)
	}
	mib, err := strconv.Atoi(strings.TrimSuffix(container.Resources.Limits.Memory, "Mi"))
	if err != nil {
		t.Fatal(err)
	}

	dir = t.TempDir()
	root, certificates := filepath.Join(dir, "rootfs"), filepath.Join(dir, "certificates")
	hosts := filepath.Join(dir, "hosts")
	if err := errors.Join(os.MkdirAll(root+"/usr/bin", 0o755), os.MkdirAll(root+"/etc", 0o755), os.Link("/usr/bin/netview-sensor", root+"/usr/bin/netview-sensor"),
		os.Mkdir(certificates, 0o755), os.WriteFile(hosts, []byte("127.0.0.1 localhost netview-collector\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "web-1.crt", "web-1.key"} {
		file, err := os.ReadFile("/etc/netview/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(certificates, name), file, 0o400)
		}
		if err != nil {
			t.Fatal(err)
		}
	}

	mount := func(destination, kind, source string, options ...string) map[string]any {
		return map[string]any{"destination": destination, "type": kind, "source": source, "options": options}
	}
	mounts := []any{
		mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"), mount("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755", "size=65536k"),
		mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"), mount("/etc/hosts", "bind", hosts, "rbind", "ro"),
	}
	for _, m := range container.VolumeMounts {
		source := certificates
		for _, v := range pod.Volumes {
			if v.Name == m.Name && v.HostPath.Path != "" {
				source = v.HostPath.Path
			}
		}
		if m.Name == "spool" { // that of the unit belongs to another user
			if err := os.RemoveAll(source); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(source, 0o755); err != nil { // DirectoryOrCreate
			t.Fatal(err)
		}
		options := []string{"rbind", map[bool]string{true: "ro", false: "rw"}[m.ReadOnly]}
		propagation, known := map[string]string{"": "rprivate", "HostToContainer": "rslave"}[m.MountPropagation]
		if !known {
			t.Fatalf("this test does not know of the propagation %s", m.MountPropagation)
		}
		mounts = append(mounts, mount(m.MountPath, "bind", source, append(options, propagation)...))
	}
	expand := strings.NewReplacer("$(NODE)", "web-1")
	arguments, environment := slices.Clone(container.Command), []string{"PATH=/usr/bin"}
	for _, argument := range container.Args {
		arguments = append(arguments, expand.Replace(argument))
	}
	for _, variable := range container.Env {
		if variable.Value != "" {
			environment = append(environment, variable.Name+"="+variable.Value)
		}
	}
	spec, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": "rootfs", "readonly": context.ReadOnlyRootFilesystem},
		"mounts":     mounts,
		"process": map[string]any{"user": map[string]int{"uid": context.RunAsUser, "gid": 0}, "args": arguments, "env": environment, "cwd": "/", "noNewPrivileges": !context.AllowPrivilegeEscalation,
			"capabilities": map[string]any{"bounding": capabilities, "effective": capabilities, "permitted": capabilities}},
		"linux": map[string]any{
			// Neither pid nor network: those of the host.
			"namespaces":    []any{map[string]string{"type": "mount"}, map[string]string{"type": "ipc"}, map[string]string{"type": "cgroup"}},
			"cgroupsPath":   "/netview-daemonset",
			"resources":     map[string]any{"memory": map[string]int{"limit": mib << 20}},
			"seccomp":       seccomp(t, capabilities),
			"maskedPaths":   []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), spec, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// seccomp is the default profile of CRI-O and Podman, as Debian has it, for a
// container with these capabilities.
func seccomp(t *testing.T, capabilities []string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	type condition struct{ Caps, Arches []string }
	var profile struct {
		DefaultAction   string
		DefaultErrnoRet int
		Syscalls        []struct {
			Names              []string
			Action             string
			ErrnoRet           *int
			Args               []map[string]any
			Includes, Excludes condition
		}
	}
	if err := json.Unmarshal(text, &profile); err != nil {
		t.Fatal(err)
	}
	held := func(c condition) bool {
		return slices.ContainsFunc(c.Caps, func(name string) bool { return slices.Contains(capabilities, name) })
	}
	var rules []any
	for _, s := range profile.Syscalls {
		if len(s.Includes.Caps) > 0 && !held(s.Includes) || held(s.Excludes) || len(s.Includes.Arches) > 0 && !slices.Contains(s.Includes.Arches, "amd64") {
			continue
		}
		rule := map[string]any{"names": s.Names, "action": s.Action}
		if s.ErrnoRet != nil {
			rule["errnoRet"] = *s.ErrnoRet
		}
		if len(s.Args) > 0 {
			rule["args"] = s.Args
		}
		rules = append(rules, rule)
	}
	return map[string]any{"defaultAction": profile.DefaultAction, "defaultErrnoRet": profile.DefaultErrnoRet, "architectures": []string{"SCMP_ARCH_X86_64"}, "syscalls": rules}
}

// testDaemonSet: in a container with the mounts and the security context of
// deploy/sensor-daemonset.yaml the sensor has every feature but one too.
func testDaemonSet(t *testing.T) {
	systemctl(t, "stop", sensorUnit)
	systemctl(t, "start", collectorUnit)
	dir := bundle(t)
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	said := func() string {
		text, _ := os.ReadFile(output.Name())
		return string(text)
	}
	const name = "netview-daemonset"
	file := filepath.Join(dir, "pid")
	run := exec.Command("crun", "--cgroup-manager=cgroupfs", "run", "--detach", "--bundle", dir, "--pid-file", file, name)
	run.Stdout, run.Stderr = output, output
	if err := run.Run(); err != nil {
		t.Fatalf("crun: %v\n%s", err, said())
	}
	defer func() {
		if out, err := exec.Command("crun", "delete", "--force", name).CombinedOutput(); err != nil {
			t.Errorf("crun delete: %v: %s", err, out)
		}
		if t.Failed() {
			t.Logf("the sensor said:\n%s", said())
		}
	}()
	acknowledged(t, "heartbeat")
	// Which the runtime's default profile refuses to the sensor's test of it.
	enabled(t, "io_uring_accept")
	happen(t)
	acknowledged(t, "connection", "listener", "network_connect", "network_accept", "network_listen", "network_flow", "dns_query", "dns_lookup", "lsm_net_connect")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, r := range rights.Table() {
		if r.Kept != "" {
			kept = append(kept, r.Name)
		}
	}
	checkThreads(t, n, map[string]string{"CapInh": mask(t), "CapPrm": mask(t, kept...), "CapEff": mask(t, kept...), "CapBnd": mask(t, kept...), "CapAmb": mask(t), "NoNewPrivs": "1", "Seccomp": "2"})
	if most, err := os.ReadFile("/sys/fs/cgroup/netview-daemonset/memory.max"); err != nil || strings.TrimSpace(string(most)) != "402653184" {
		t.Errorf("memory.max is %s (%v)", most, err)
	}
}
