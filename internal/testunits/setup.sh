#!/bin/busybox sh
# Installs what deploy/ has into the root file system of a test's machine, as
# docs/security.md says, before systemd is there; and a service that runs the tests.
set -e
# As a package would: users and the folders that a minimal system lacks.
mkdir -p /root/etc/systemd/system/multi-user.target.wants /root/usr/lib/sysusers.d /root/var/log /root/usr/bin
echo web-1 >/root/etc/hostname
echo 6e657476696577000000000000000001 >/root/etc/machine-id # without one systemd asks the console
cat >/root/inside <<'INSIDE'
set -e
# busybox has no install(1).
put() { cp "$1" "$2/${5-$1}" && chown "$4" "$2/${5-$1}" && chmod "$3" "$2/${5-$1}"; }
cd /deploy
put netview-sensor /usr/bin 0755 0:0
put netview-collector /usr/bin 0755 0:0
put netview-sysusers.conf /usr/lib/sysusers.d 0644 0:0 netview.conf
systemd-sysusers 2>/dev/null
for unit in netview-sensor.service netview-collector.service; do
	put $unit /etc/systemd/system 0644 0:0
	ln -s /etc/systemd/system/$unit /etc/systemd/system/multi-user.target.wants/
done
mkdir -m 0755 /etc/netview
for file in ca.crt server.crt web-1.crt collector-tls.yaml access.yaml; do put $file /etc/netview 0644 0:0; done
put server.key /etc/netview 0440 0:netview-collector
put web-1.key /etc/netview 0440 0:netview
for file in collector.env sensor.env; do put $file /etc/netview 0400 0:0; done
INSIDE
chroot /root sh /inside
rm -r /root/inside /root/deploy/*.key /root/deploy/*.env
# Emulated, half a CPU would be a twentieth of one: testLimits takes this away.
mkdir /root/etc/systemd/system/netview-sensor.service.d
printf '[Service]\nCPUQuota=200%%\n' >/root/etc/systemd/system/netview-sensor.service.d/emulation.conf
cat >/root/etc/systemd/system/netview-test.service <<'UNIT'
[Unit]
After=netview-sensor.service netview-collector.service
[Service]
Type=oneshot
Environment=NETVIEW_UNITS=1
ExecStart=/bin/sh /run.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
UNIT
ln -s /etc/systemd/system/netview-test.service /root/etc/systemd/system/multi-user.target.wants/
