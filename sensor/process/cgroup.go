package process

import "bytes"

// cgroup reads /proc/PID/cgroup (kernel: kernel/cgroup/cgroup.c
// proc_cgroup_show), with a line HIERARCHY:CONTROLLERS:PATH for each hierarchy:
// one on cgroup v2, many on v1 and hybrid hosts. It returns the path that names
// a container, with its id; where none does, the longest path, since a process
// often is moved in some hierarchies and left at the root of others.
func cgroup(text []byte) (path, containerID string) {
	var longest []byte
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		_, line, ok := bytes.Cut(line, []byte(":"))
		_, line, named := bytes.Cut(line, []byte(":"))
		if !ok || !named {
			continue
		}
		if id := innermost(line); id != nil {
			return string(line), string(id)
		}
		if len(line) > len(longest) {
			longest = line
		}
	}
	return string(longest), ""
}

// innermost finds the last part of a path that is a container.
func innermost(path []byte) []byte {
	for {
		slash := bytes.LastIndexByte(path, '/')
		if id := containerID(path[slash+1:]); id != nil {
			return id
		}
		if slash < 0 {
			return nil
		}
		path = path[:slash]
	}
}

// idLength is the number of digits of a container id.
const idLength = 64

// containerID reads one part of a path. The forms are
//
//	ID                        docker, containerd and Kubernetes with cgroupfs
//	RUNTIME-ID.scope          with systemd: docker, cri-containerd, crio, libpod
//	libpod-ID                 podman with cgroupfs
//	UNIT:cri-containerd:ID    containerd that was given a systemd path without its driver
//
// A conmon is the monitor of a container that runs beside it, not in it.
func containerID(part []byte) []byte {
	part = bytes.TrimSuffix(part, []byte(".scope"))
	if len(part) < idLength {
		return nil
	}
	prefix, id := part[:len(part)-idLength], part[len(part)-idLength:]
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return nil
		}
	}
	if len(prefix) == 0 {
		return id
	}
	if last := prefix[len(prefix)-1]; last != '-' && last != ':' || bytes.HasSuffix(prefix, []byte("conmon-")) {
		return nil
	}
	return id
}
