#!/bin/busybox sh
# The first process of a test's virtual machine.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
ip link set lo up
if [ ! -e /setup ]; then
	mount -t tmpfs tmp /tmp
	exec sh /run.sh
fi

# With systemd, which like a container's runtime needs a root that can be pivoted.
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
mkdir -p /root && mount -t tmpfs -o mode=755 root /root
for directory in /bin /etc /lib* /usr /var /tests /deploy /setup /run.sh; do [ ! -e "$directory" ] || cp -a "$directory" /root; done
mkdir -p /root/proc /root/sys /root/dev /root/tmp /root/run /root/home
sh /setup || poweroff -f
exec switch_root /root /lib/systemd/systemd
