#!/bin/sh
# Brings what tests take from Debian's archive, once: kernels with QEMU to run
# them, the compiler of the programs in sensor/bpf, and musl's for programs that the
# tests of sensor/libc run. Where that cannot be had it says so, and these tests are
# skipped.
set -u
dir=$1
series="6.1 6.12"
packages="qemu-system-x86 busybox-static clang-16 llvm-16 libbpf-dev musl-tools nftables"

complete=yes
for s in $series; do [ -e "$dir/$s/complete" ] || complete=no; done
for program in qemu-system-x86_64 busybox clang-16 llvm-strip-16 musl-gcc nft; do command -v $program >/dev/null || complete=no; done
[ -e /usr/include/bpf/bpf_helpers.h ] || complete=no
[ $complete = no ] || exit 0

without() { echo "netview: $1: the tests on other kernels, and of the BPF objects, are skipped" >&2; exit 0; }
command -v apt-get >/dev/null || without "there is no apt-get here"
[ "$(id -u)" = 0 ] || without "installing packages needs root"
mkdir -p "$dir" || without "cannot write to $dir"
log=$(cd "$dir" && pwd)/apt.log

apt() { apt-get -qq -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root "$@" >>"$log" 2>&1; }
echo "Installing QEMU, clang and two kernels of Debian for tests; this is done once …"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
apt update
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $packages || without "apt-get cannot install $packages, see $log"

for s in $series; do
	[ -e "$dir/$s/complete" ] && continue
	# The newest of the series. The cloud flavour has all that is needed, and is small.
	name=$(apt-cache search --names-only "^linux-image-$(echo "$s" | sed 's/\./\\./')\.[0-9].*-cloud-amd64-unsigned\$" | cut -d' ' -f1 | sort -V | tail -1)
	[ -n "$name" ] || without "the archive has no kernel $s"
	rm -rf "${dir:?}/$s" && mkdir -p "$dir/$s"
	(cd "$dir/$s" && apt download "$name" && dpkg -x ./*.deb . && rm ./*.deb && touch complete) || without "apt-get cannot download $name, see $log"
done
