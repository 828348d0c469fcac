#!/bin/sh
# SPDX-License-Identifier: CDDL-1.0
# Installs what lies beside this script. The system's own overlay, if it has one, is kept aside until uninstall.sh.
#   ./install.sh            on this system: files, driver, service
#   ROOT=DIR ./install.sh   the files only, below DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${ROOT:-}
state=$root/var/opt/overlay-rs
# These come before ours in the paths of modules and libraries.
theirs="kernel/drv/amd64/overlay kernel/drv/overlay.conf kernel/overlay/amd64/vxlan lib/amd64/libvarpd.so.1"

if [ -z "$root" ]; then
	[ "$(uname -s)" = SunOS ] || { echo "$0: this is no illumos; ROOT=DIR installs elsewhere" >&2; exit 1; }
	[ "$(id -u)" = 0 ] || { echo "$0: only root can install" >&2; exit 1; }
	if [ "$(dladm show-link -p -o class | grep -c overlay)" != 0 ]; then
		echo "$0: there are overlay links, which hold the driver: delete them first" >&2
		exit 1
	fi
	svcadm disable -s network/varpd 2>/dev/null || :
	for module in vxlan overlay; do
		id=$(modinfo | awk -v m="$module" '$6 == m { print $1 }')
		[ -z "$id" ] || modunload -i "$id"
	done
fi

# Puts a file of the system's aside. What an earlier install.sh put there is not replaced by our own.
keep() {
	[ -e "$root/$1" ] || [ -h "$root/$1" ] || return 0
	grep -qx "$1" "$state/installed" 2>/dev/null && return 0
	mkdir -p "$state/saved/$(dirname "$1")"
	mv "$root/$1" "$state/saved/$1"
}

mkdir -p "$state/saved"
for path in $theirs; do keep "$path"; done
while read -r kind path a b c; do
	case $kind in
	dir)
		[ -d "$root/$path" ] && continue
		mkdir -p "$root/$path"
		echo "$path/" >>"$state/installed"
		chmod "$a" "$root/$path"
		[ -n "$root" ] || chown "$b:$c" "$root/$path"
		continue
		;;
	esac
	keep "$path"
	mkdir -p "$root/$(dirname "$path")"
	case $kind in
	file)
		rm -f "$root/$path"
		cp "$here/root/$path" "$root/$path"
		chmod "$a" "$root/$path"
		[ -n "$root" ] || chown "$b:$c" "$root/$path"
		;;
	link)
		rm -f "$root/$path"
		ln -s "$a" "$root/$path"
		;;
	esac
	grep -qx "$path" "$state/installed" 2>/dev/null || echo "$path" >>"$state/installed"
done <"$here/files"

if [ -z "$root" ]; then
	# illumos knows the name, with a number, also where the driver is not installed.
	if grep -q '^overlay[[:space:]]' /etc/name_to_major; then
		devfsadm -i overlay
	else
		add_drv overlay
		touch "$state/added"
	fi
	svccfg import /lib/svc/manifest/network/portolan.xml
	svccfg import /lib/svc/manifest/network/varpd.xml
	svcadm enable -s network/varpd
	# The system's ipnet goes on as long as something looks at it. Ours is the next to be loaded.
	id=$(modinfo | awk '$6 == "ipnet" { print $1 }')
	[ -z "$id" ] || modunload -i "$id" 2>/dev/null ||
		echo "$0: the system's ipnet is in use; ours is there after a reboot" >&2
	echo "installed; /usr/lib/varpd/overlay-smoke tries it"
fi
