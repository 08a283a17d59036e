#!/bin/sh
# Brings Debian's Prometheus and Alertmanager for tests, once: the programs alone,
# unpacked and not installed, so that no service starts. Where they cannot be had it
# says so, and the tests that run them are skipped.
set -u
dir=$1
programs="prometheus promtool prometheus-alertmanager amtool"

complete=yes
for p in $programs; do [ -x "$dir/$p" ] || complete=no; done
[ $complete = no ] || exit 0

without() { echo "netview: $1: the tests with a real Prometheus are skipped" >&2; exit 0; }
command -v apt-get >/dev/null || without "there is no apt-get here"
command -v dpkg-deb >/dev/null || without "there is no dpkg-deb here"
mkdir -p "$dir" || without "cannot write to $dir"
dir=$(cd "$dir" && pwd)
log=$dir/apt.log

apt() { apt-get -qq -o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root "$@" >>"$log" 2>&1; }
echo "Fetching Debian's Prometheus and Alertmanager for tests, 140 MB on disk; this is done once …"
download() { (cd "$dir" && apt download prometheus prometheus-alertmanager); }
# Without the lists of packages it fails, and they take root to bring.
download || { [ "$(id -u)" = 0 ] && apt update && download; } || without "apt-get cannot download them, see $log"
for package in "$dir"/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir" --strip-components=3 ./usr/bin || without "$package cannot be unpacked"
	rm "$package"
done
