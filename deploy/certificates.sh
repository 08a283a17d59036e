#!/bin/sh
# A small certificate authority for a trial; needs openssl. What it makes lies in
# DIR, the keys readable by their owner alone:
#
#   certificates.sh DIR ca                    the authority: ca.crt, ca.key
#   certificates.sh DIR server HOST …         for the collector, under names and addresses: server.crt, server.key
#   certificates.sh DIR sensor SENSOR_ID      for a sensor: SENSOR_ID.crt, SENSOR_ID.key
#   certificates.sh DIR relay NAME            for a relay, netview://relay/NAME: relay-NAME.crt, relay-NAME.key
#
# DAYS says how long a certificate holds (90), CA_DAYS the authority (3650). To
# renew one, make it again: sensor and collector read the files anew. ca.key
# belongs on no host of theirs.
set -eu
umask 077

usage() {
	sed -n 's/^# \{0,1\}//; 2,8p' "$0" >&2
	exit 2
}

[ $# -ge 2 ] || usage
command -v openssl >/dev/null || { echo "certificates.sh: openssl is not installed or not in PATH" >&2; exit 1; }
dir=$1 what=$2
shift 2
mkdir -p "$dir"

# issue NAME USAGE ALTERNATIVE_NAMES: the pair is put in place when it is whole.
issue() {
	[ -e "$dir/ca.key" ] || { echo "certificates.sh: $dir has no authority: $0 $dir ca" >&2; exit 1; }
	new=$(mktemp -d "$dir/new.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$2" "$3" >"$new/extensions"
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=netview/CN=$1" -keyout "$new/key" -out "$new/request" 2>"$new/errors" ||
		{ cat "$new/errors" >&2; exit 1; }
	openssl x509 -req -in "$new/request" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -set_serial "0x01$(openssl rand -hex 15)" \
		-days "${DAYS:-90}" -extfile "$new/extensions" -out "$new/crt" 2>"$new/errors" || { cat "$new/errors" >&2; exit 1; }
	chmod 0644 "$new/crt"
	mv "$new/key" "$dir/$1.key"
	mv "$new/crt" "$dir/$1.crt"
	echo "$dir/$1.crt: $3"
}

# one_of NAME: fails unless NAME is what a sensor_id may be.
one_of() {
	case $1 in
	'' | *[!a-z0-9._-]*) echo "certificates.sh: \"$1\" is not valid: use 1 to 64 of the characters a-z 0-9 . _ -" >&2; exit 2 ;;
	esac
	[ ${#1} -le 64 ] || { echo "certificates.sh: \"$1\" is longer than 64 characters" >&2; exit 2; }
}

case $what in
ca)
	[ ! -e "$dir/ca.key" ] || { echo "certificates.sh: $dir has an authority already" >&2; exit 1; }
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=netview/CN=netview trial" -days "${CA_DAYS:-3650}" \
		-addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
	chmod 0644 "$dir/ca.crt"
	echo "$dir/ca.crt"
	;;
server)
	[ $# -ge 1 ] || usage
	names=
	for host; do
		case $host in
		*:* | *[!0-9.]*) case $host in *:*) kind=IP ;; *) kind=DNS ;; esac ;;
		*) kind=IP ;;
		esac
		names=$names${names:+,}$kind:$host
	done
	issue server serverAuth "$names"
	;;
sensor)
	[ $# -eq 1 ] || usage
	one_of "$1"
	issue "$1" clientAuth "URI:netview://sensor/$1"
	;;
relay)
	[ $# -eq 1 ] || usage
	one_of "$1"
	issue "relay-$1" clientAuth "URI:netview://relay/$1"
	;;
*) usage ;;
esac
