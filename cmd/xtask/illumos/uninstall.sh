#!/bin/sh
# SPDX-License-Identifier: CDDL-1.0
# Undoes install.sh, and puts back what it kept aside. ROOT as there.
set -eu
root=${ROOT:-}
state=$root/var/opt/overlay-rs
[ -f "$state/installed" ] || { echo "$0: nothing is installed" >&2; exit 1; }

if [ -z "$root" ]; then
	if [ "$(dladm show-link -p -o class | grep -c overlay)" != 0 ]; then
		echo "$0: there are overlay links, which hold the driver: delete them first" >&2
		exit 1
	fi
	svcadm disable -s network/portolan 2>/dev/null || :
	svcadm disable -s network/varpd 2>/dev/null || :
	for module in vxlan overlay; do
		id=$(modinfo | awk -v m="$module" '$6 == m { print $1 }')
		[ -z "$id" ] || modunload -i "$id"
	done
	[ ! -f "$state/added" ] || rem_drv overlay
	svccfg delete -f network/portolan
	[ -f "$state/saved/lib/svc/manifest/network/varpd.xml" ] || svccfg delete -f network/varpd
fi

# Files first, then directories from within.
grep -v '/$' "$state/installed" | while read -r path; do rm -f "$root/$path"; done
grep '/$' "$state/installed" | sort -r | while read -r path; do rmdir "$root/$path" 2>/dev/null || :; done
(cd "$state/saved" && find . ! -type d -print) | while read -r path; do
	mkdir -p "$root/$(dirname "$path")"
	mv "$state/saved/$path" "$root/$path"
done
rm -rf "$state"

if [ -z "$root" ]; then
	id=$(modinfo | awk '$6 == "ipnet" { print $1 }')
	[ -z "$id" ] || modunload -i "$id" 2>/dev/null ||
		echo "$0: our ipnet is in use; the system's is there after a reboot" >&2
	devfsadm -i overlay 2>/dev/null || :
	if [ -f /lib/svc/manifest/network/varpd.xml ]; then
		svccfg import /lib/svc/manifest/network/varpd.xml
		svcadm enable network/varpd
	fi
fi
