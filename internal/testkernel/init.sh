#!/bin/busybox sh
# The first process of a test's virtual machine.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in /modules/*; do insmod "$module"; done
ip link set lo up
export NETVIEW_ALONE=1 NETVIEW_PROGRAMS=/programs PATH=/bin TMPDIR=/tmp HOME=/tmp
cat /proc/version
for test in /tests/*; do
	echo "=== netview begins $test"
	cd /tmp && sh "$test"
	echo "=== netview ends $test"
done
sync
poweroff -f
