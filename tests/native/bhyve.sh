#!/bin/bash
# SPDX-License-Identifier: CDDL-1.0
# Boots an OmniOS image under bhyve, installs the tarball of `cargo xtask proto` in it, runs the smoke program, and brings
# capture.snoop from there: packets of lo0 and of an IP interface over a VNIC of an overlay, for tshark or Wireshark.
# NEVER RUN so far: it needs an illumos host with bhyve(8), and a disk image with a root that takes an ssh key.
#   tests/native/bhyve.sh IMAGE TARBALL VNIC ADDRESS
# IMAGE is used as it is (give it a copy), VNIC is a free VNIC of the host, ADDRESS what the guest has on it.
set -euo pipefail
[ $# = 4 ] || { sed -n '3,7s/^# //p' "$0"; exit 2; }
image=$1 tarball=$2 vnic=$3 address=$4
vm=overlay-smoke
to=(-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5)

bhyve -c 2 -m 2G -H -P -s 0,hostbridge -s 1,lpc -l bootrom,/usr/share/bhyve/firmware/BHYVE.fd \
	-s 2,virtio-blk,"$image" -s 3,virtio-net-viona,vnic="$vnic" -l com1,stdio "$vm" >"$vm.console" 2>&1 &
trap 'bhyvectl --destroy --vm="$vm" 2>/dev/null || :' EXIT
for _ in {1..60}; do
	ssh "${to[@]}" "root@$address" true 2>/dev/null && break
	sleep 5
done
scp "${to[@]}" "$tarball" "root@$address:/tmp/overlay-rs.tar.gz"
ssh "${to[@]}" "root@$address" 'set -e
	cd /tmp && gtar xzf overlay-rs.tar.gz && cd overlay-rs && ./install.sh
	svcs -x network/varpd
	svcadm disable -st network/varpd
	/usr/lib/varpd/overlay-smoke
	svcadm enable -s network/varpd

	dladm create-overlay -t -e vxlan -s direct -v 77 \
		-p vxlan/listen_ip=127.0.0.1,direct/dest_ip=127.0.0.2,direct/dest_port=4789 smokeov0
	dladm create-vnic -t -l smokeov0 smokevn0
	ipadm create-if -t smokevn0
	ipadm create-addr -t -T static -a local=10.77.0.1/24 smokevn0/v4
	arp -s 10.77.0.2 2:bb:0:0:0:2 temp
	ls /dev/ipnet/lo0 /dev/ipnet/smokevn0
	/usr/lib/varpd/snoop -q -I lo0 -I smokevn0 -o /tmp/capture.snoop icmp & watcher=$!
	sleep 2
	ping -ns 127.0.0.1 56 2
	ping 10.77.0.2 1 || echo "as it should be: nobody is at the other end"
	kill $watcher && wait $watcher
	snoop -i /tmp/capture.snoop
	ipadm delete-if smokevn0
	dladm delete-vnic -t smokevn0
	dladm delete-overlay smokeov0'
scp "${to[@]}" "root@$address:/tmp/capture.snoop" .
ssh "${to[@]}" "root@$address" /tmp/overlay-rs/uninstall.sh
