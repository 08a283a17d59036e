#!/bin/busybox sh
# Runs the programs of a test's virtual machine, which ends then.
export NETVIEW_ALONE=1 NETVIEW_PROGRAMS=/programs PATH=/bin:/usr/bin TMPDIR=/tmp HOME=/tmp
cat /proc/version
for test in /tests/*; do
	echo "=== netview begins $test"
	cd /tmp && sh "$test"
	echo "=== netview ends $test"
done
sync
poweroff -f
