package process

import (
	"strings"
	"testing"
)

var id = strings.Repeat("0123456789abcdef", 4)

func TestCgroup(t *testing.T) {
	other := strings.Repeat("fedcba9876543210", 4)
	tests := []struct {
		name, text, path, id string
	}{
		{"docker, v1", "12:pids:/docker/ID\n1:name=systemd:/docker/ID\n", "/docker/ID", id},
		{"docker, v2 with systemd", "0::/system.slice/docker-ID.scope\n", "/system.slice/docker-ID.scope", id},
		{"docker, v2 with cgroupfs", "0::/docker/ID\n", "/docker/ID", id},
		{"containerd, Kubernetes, cgroupfs", "11:memory:/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/ID\n",
			"/kubepods/burstable/pod2c48913c-b29f-11e7-9350-020968147796/ID", id},
		{"containerd, Kubernetes, systemd", "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-ID.scope\n",
			"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-ID.scope", id},
		{"containerd, systemd path without its driver", "0::/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID\n",
			"/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID", id},
		{"CRI-O", "0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container\n", "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", id},
		{"CRI-O, conmon", "0::/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope\n", "/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope", ""},
		{"podman, root", "0::/machine.slice/libpod-ID.scope/container\n", "/machine.slice/libpod-ID.scope/container", id},
		{"podman, user", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope\n",
			"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", id},
		{"podman, cgroupfs", "5:cpu:/libpod_parent/libpod-ID\n", "/libpod_parent/libpod-ID", id},
		{"podman, conmon", "0::/machine.slice/libpod-conmon-ID.scope\n", "/machine.slice/libpod-conmon-ID.scope", ""},
		{"hybrid, v2 empty", "9:name=systemd:/docker/ID\n8:pids:/docker/ID\n0::/\n", "/docker/ID", id},
		{"hybrid, v1 partly", "3:cpuset:/\n2:memory:/system.slice/docker-ID.scope\n0::/\n", "/system.slice/docker-ID.scope", id},
		{"unit inside a container", "0::/docker/ID/system.slice/nginx.service\n", "/docker/ID/system.slice/nginx.service", id},
		{"container inside a container", "0::/docker/" + other + "/docker/ID\n", "/docker/" + other + "/docker/ID", id},
		{"seen from another cgroup namespace", "0::/../../docker-ID.scope\n", "/../../docker-ID.scope", id},
		{"path with a colon", "0::/a:b/ID\n", "/a:b/ID", id},
		{"no newline", "0::/docker/ID", "/docker/ID", id},
		{"service", "0::/system.slice/ssh.service\n", "/system.slice/ssh.service", ""},
		{"root", "0::/\n", "/", ""},
		{"63 digits", "0::/docker/" + id[1:] + "\n", "/docker/" + id[1:], ""},
		{"65 digits", "0::/docker/0ID\n", "/docker/0ID", ""},
		{"upper case", "0::/docker/" + strings.ToUpper(id) + "\n", "/docker/" + strings.ToUpper(id), ""},
		{"no such format", "docker ID\n:\n::\n", "", ""},
		{"empty", "", "", ""},
	}
	for _, test := range tests {
		expand := func(text string) string { return strings.ReplaceAll(text, "ID", id) }
		path, got := cgroup([]byte(expand(test.text)))
		if path != expand(test.path) || got != test.id {
			t.Errorf("%s: path %q, id %q, want %q and %q", test.name, path, got, expand(test.path), test.id)
		}
	}
}

func FuzzCgroup(f *testing.F) {
	f.Add([]byte("12:pids:/docker/" + id + "\n0::/\n"))
	f.Add([]byte("0::/kubepods.slice/crio-conmon-" + id + ".scope"))
	f.Add([]byte(":::\n\n/"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path, id := cgroup(text)
		if !strings.Contains(string(text), path) || !strings.Contains(path, id) {
			t.Errorf("path %q and id %q are not in the text", path, id)
		}
		if id != "" && (len(id) != idLength || strings.Trim(id, "0123456789abcdef") != "") {
			t.Errorf("id %q is not one", id)
		}
	})
}
