#!/bin/sh
# Brings what tests take from Debian's archive, once: kernels with QEMU to run
# them, the compiler of the programs in sensor/bpf, musl's for programs that the tests
# of sensor/libc run, resolvers of DNS with what asks them, and systemd with a runtime of
# containers for internal/testunits. Where that cannot be had it says so, and these
# tests are skipped.
set -u
dir=$1
series="6.1 6.12"
packages="qemu-system-x86 busybox-static clang-16 llvm-16 libbpf-dev musl-tools nftables dnsmasq-base bind9-dnsutils"

complete=yes
for s in $series; do [ -e "$dir/$s/complete" ] || complete=no; done
for program in qemu-system-x86_64 busybox clang-16 llvm-strip-16 musl-gcc nft dnsmasq dig; do command -v $program >/dev/null || complete=no; done
[ -e /usr/include/bpf/bpf_helpers.h ] || complete=no
command -v unbound >/dev/null || [ -e "$dir/unbound/complete" ] || complete=no
[ -e "$dir/systemd/complete" ] || complete=no
[ $complete = no ] || exit 0

without() { echo "netview: $1: the tests on other kernels, of the BPF objects, and with resolvers of DNS are skipped" >&2; exit 0; }
command -v apt-get >/dev/null || without "there is no apt-get here"
[ "$(id -u)" = 0 ] || without "installing packages needs root"
mkdir -p "$dir" || without "cannot write to $dir"
log=$(cd "$dir" && pwd)/apt.log

apt() { apt-get -qq -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root "$@" >>"$log" 2>&1; }
echo "Installing QEMU, clang, resolvers, and two kernels and a systemd of Debian for tests; this is done once …"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
apt update
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $packages || without "apt-get cannot install $packages, see $log"

# Installed, unbound would be the host's resolver from then on: only what it needs is.
if ! command -v unbound >/dev/null && [ ! -e "$dir/unbound/complete" ]; then
	# shellcheck disable=SC2046 # a list of words
	apt install --no-install-recommends $(apt-cache depends unbound | sed -n 's/^ *Depends: \(lib[^ ]*\)$/\1/p') || without "apt-get cannot install what unbound needs, see $log"
	rm -rf "${dir:?}/unbound" && mkdir -p "$dir/unbound"
	(cd "$dir/unbound" && apt download unbound && dpkg -x ./*.deb . && rm ./*.deb && touch complete) || without "apt-get cannot download unbound, see $log"
fi

for s in $series; do
	[ -e "$dir/$s/complete" ] && continue
	# The newest of the series. The cloud flavour has all that is needed, and is small.
	name=$(apt-cache search --names-only "^linux-image-$(echo "$s" | sed 's/\./\\./')\.[0-9].*-cloud-amd64-unsigned\$" | cut -d' ' -f1 | sort -V | tail -1)
	[ -n "$name" ] || without "the archive has no kernel $s"
	rm -rf "${dir:?}/$s" && mkdir -p "$dir/$s"
	(cd "$dir/$s" && apt download "$name" && dpkg -x ./*.deb . && rm ./*.deb && touch complete) || without "apt-get cannot download $name, see $log"
done

# What systemd's machine has beside busybox: packages with every library of theirs, and
# the seccomp profile that is the default of CRI-O and Podman.
if [ ! -e "$dir/systemd/complete" ]; then
	rm -rf "${dir:?}/systemd" && mkdir -p "$dir/systemd"
	# libelogind0 would be in the place of libsystemd0.
	libraries=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances systemd crun | grep '^lib[^ ]*$' | grep -vx libelogind0 | sort -u)
	# shellcheck disable=SC2086 # a list of words
	(cd "$dir/systemd" && apt download systemd crun libc-bin golang-github-containers-common $libraries && for package in ./*.deb; do dpkg -x "$package" . || exit; done &&
		rm ./*.deb && find usr/share -mindepth 1 -maxdepth 1 ! -name containers -exec rm -r {} + && rm -rf usr/lib/*/gconv && touch complete) || without "apt-get cannot download systemd and crun, see $log"
fi
