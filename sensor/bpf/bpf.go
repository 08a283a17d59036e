// Package bpf holds the sensor's programs for the kernel: BPF C, and the objects
// made of it, which `make generate` builds anew. An object serves every
// little-endian architecture, but for those of kprobes and uprobes: where a kernel
// has its fields is found out when the object is loaded.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem state -type nv_socket_event -type nv_type -type nv_role -type nv_loss State state.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem accept Accept accept.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem fexit_accept FexitAccept fexit_accept.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem connect Connect connect.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem fexit_connect FexitConnect fexit_connect.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem udp UDP udp.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem fexit_udp FexitUDP fexit_udp.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem lsm LSM lsm.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem dns -type nv_packet -type nv_room DNS dns.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem cookie Cookie cookie.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem seed Seed seed.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem uring Uring uring.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target amd64,arm64 -go-package bpf -output-stem kprobe Kprobe kprobe.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target amd64,arm64 -go-package bpf -output-stem lookup -type nv_lookup -type nv_lookup_address -type nv_text Lookup lookup.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -cc clang-16 -strip llvm-strip-16 -target bpfel -go-package bpf -output-stem exec -type nv_exec Exec exec.bpf.c -- -g -O2 -fdebug-compilation-dir=. -mcpu=v3 -Wall -Wpadded -Werror
