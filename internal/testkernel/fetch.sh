#!/bin/sh
# Brings what tests take from Debian's archive, once: kernels with QEMU to run
# them, the compiler of the programs in sensor/bpf, musl's for programs that the tests
# of sensor/libc run, resolvers of DNS with what asks them, and systemd with a runtime of
# containers for internal/testunits. Where that cannot be had it says so, and these
# tests are skipped.
set -u
dir=$1
# Directory, architecture, release of Debian and series of each kernel.
kernels="
5.10 amd64 bullseye 5.10
6.1 amd64 bookworm 6.1
6.12 amd64 bookworm 6.12
6.1-arm64 arm64 bookworm 6.1"
# What a machine has of another architecture than the host's.
tools="arm64 bookworm"
packages="qemu-system-x86 qemu-system-arm busybox-static clang-16 llvm-16 libbpf-dev musl-tools nftables dnsmasq-base bind9-dnsutils"

complete=yes
for d in $(echo "$kernels" | cut -d' ' -f1) tools-arm64; do [ -e "$dir/$d/complete" ] || complete=no; done
for program in qemu-system-x86_64 qemu-system-aarch64 busybox clang-16 llvm-strip-16 musl-gcc nft dnsmasq dig; do command -v $program >/dev/null || complete=no; done
[ -e /usr/include/bpf/bpf_helpers.h ] || complete=no
command -v unbound >/dev/null || [ -e "$dir/unbound/complete" ] || complete=no
[ -e "$dir/systemd/complete" ] || complete=no
[ $complete = no ] || exit 0

without() { echo "netview: $1: the tests on other kernels, of the BPF objects, and with resolvers of DNS are skipped" >&2; exit 0; }
command -v apt-get >/dev/null || without "there is no apt-get here"
[ "$(id -u)" = 0 ] || without "installing packages needs root"
mkdir -p "$dir" || without "cannot write to $dir"
dir=$(cd "$dir" && pwd)
log=$dir/apt.log

apt() { apt-get -qq -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root "$@" >>"$log" 2>&1; }
echo "Installing QEMU, clang, resolvers, and four kernels and a systemd of Debian for tests; this is done once …"
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

# use makes apt speak of another architecture and release, in the archive that the
# host takes its own packages from, and of nothing that is installed.
use() {
	state=$dir/apt/$1-$2
	APT_CONFIG=$state/apt.conf
	export APT_CONFIG
	[ ! -e "$APT_CONFIG" ] || return 0
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	(unset APT_CONFIG && apt-get indextargets --format "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \$(REPO_URI) \$(RELEASE) main" 'Created-By: Packages' 'Origin: Debian') |
		sed "s/\] \([^ ]*\) [a-z]*/] \1 $2/" | sort -u >"$state/sources.list"
	cat >"$APT_CONFIG" <<-end
		APT::Architecture "$1";
		APT::Architectures "$1";
		Acquire::Languages "none";
		Dir::Etc::SourceList "$state/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State "$state";
		Dir::State::Status "/dev/null";
		Dir::Cache "$state";
	end
	apt update # a part of the archive may be gone, and the rest do
}

lacks() { echo "netview: $1: the tests that need it are skipped, see $log" >&2; }

# download the newest kernel of a series, or, where its file has left the archive
# before the list did, the next.
download() {
	for name in $(apt-cache search --names-only "^linux-image-$(echo "$2" | sed 's/\./\\./')\.[0-9].*-cloud-$1-unsigned\$" | cut -d' ' -f1 | sort -Vr); do
		apt download "$name" && return
	done
	return 1
}

echo "$kernels" | while read -r name architecture release series; do
	[ -n "$name" ] && [ ! -e "$dir/$name/complete" ] || continue
	use "$architecture" "$release"
	rm -rf "${dir:?}/$name" && mkdir -p "$dir/$name"
	# The cloud flavour has all that is needed, and is small.
	(cd "$dir/$name" && download "$architecture" "$series" && dpkg -x ./*.deb . && rm ./*.deb && touch complete) || lacks "apt-get has no kernel $series of Debian $release for $architecture"
done

if [ ! -e "$dir/tools-arm64/complete" ]; then
	# shellcheck disable=SC2086 # two words
	use $tools
	rm -rf "$dir/tools-arm64" && mkdir -p "$dir/tools-arm64"
	(apt --no-install-recommends --download-only install bash iproute2 busybox-static && cd "$dir/tools-arm64" &&
		for package in "$state"/archives/*.deb; do dpkg -x "$package" . || exit; done && touch complete) || lacks "apt-get has no bash, ip and busybox for arm64"
fi
rm -rf "$dir/apt"
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
