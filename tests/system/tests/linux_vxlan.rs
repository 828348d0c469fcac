// SPDX-License-Identifier: CDDL-1.0
//! Against the Linux kernel's own vxlan device: what we send it understands, and the other way round.
//!
//! The guest is ordinary Linux in a namespace behind a TAP, so both ends of every connection are real IP stacks and
//! only the overlay between them is ours.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use system_tests::packet::PacketSocket;
use system_tests::{Netns, NetnsHost, cannot_use_netns, checked, skip};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
const MTU: usize = 1400;

/// `guest` behind our overlay on `host`, `linux` with vxlan devices, a veth between the two.
struct Setup {
    guest: Netns,
    host: NetnsHost,
    linux: Netns,
    our_underlay: String,
    linux_underlay: String,
}

impl Setup {
    /// `tag` keeps the namespaces of tests that run at the same time apart.
    fn new(tag: &str, ours: &str, theirs: &str) -> Result<Setup> {
        let pid = std::process::id();
        let host = Netns::create(&format!("ovt-{tag}h-{pid}"))?;
        let linux = Netns::create(&format!("ovt-{tag}l-{pid}"))?;
        let guest = Netns::create(&format!("ovt-{tag}g-{pid}"))?;
        let len = if ours.contains(':') { "64" } else { "24" };
        host.ip(&[
            "link",
            "add",
            "under",
            "mtu",
            "1600",
            "type",
            "veth",
            "peer",
            "name",
            "under",
            "mtu",
            "1600",
            "netns",
            linux.name(),
        ])?;
        for (ns, addr) in [(&host, ours), (&linux, theirs)] {
            ns.ip(&["addr", "add", &format!("{addr}/{len}"), "dev", "under", "nodad"])
                .or_else(|_| ns.ip(&["addr", "add", &format!("{addr}/{len}"), "dev", "under"]))?;
            ns.ip(&["link", "set", "under", "up"])?;
        }
        // A veth passes checksums on undone, also those of frames inside of VXLAN, where only hardware would fill
        // them in. There is none here.
        checked(linux.command("ethtool").args(["-K", "under", "tx", "off"]))?;
        let host = NetnsHost::start(host, EXE)?;
        Ok(Setup { guest, host, linux, our_underlay: ours.into(), linux_underlay: theirs.into() })
    }

    /// One vnet: an overlay link, a VNIC, a TAP `dev` in the guest's namespace, and a vxlan device on the Linux side.
    fn vnet(&self, vnet: u32, dev: &str, guest_addr: &str, linux_addr: &str) -> Result<()> {
        let overlay = format!("ov{vnet}");
        let vnic = format!("{dev}vnic{vnet}");
        let props = format!(
            "vxlan/listen_ip={},direct/dest_ip={},direct/dest_port=4789",
            self.our_underlay, self.linux_underlay
        );
        self.host.run(
            "dladm",
            &[
                "create-overlay",
                "-e",
                "vxlan",
                "-s",
                "direct",
                "-v",
                &vnet.to_string(),
                "-p",
                &props,
                &overlay,
            ],
        )?;
        self.host.run("dladm", &["create-vnic", "-l", &overlay, &vnic])?;
        self.host.run(
            "fkadm",
            &["guest", "attach-tap", &vnic, "--netns", self.guest.name(), "--tap", dev],
        )?;
        self.guest.ip(&["addr", "add", guest_addr, "dev", dev])?;
        self.guest.ip(&["link", "set", dev, "up", "mtu", &MTU.to_string()])?;
        let vx = format!("vx{vnet}");
        self.linux.ip(&[
            "link",
            "add",
            &vx,
            "mtu",
            &MTU.to_string(),
            "type",
            "vxlan",
            "id",
            &vnet.to_string(),
            "dstport",
            "4789",
            "local",
            &self.linux_underlay,
            "remote",
            &self.our_underlay,
            "dev",
            "under",
        ])?;
        self.linux.ip(&["addr", "add", linux_addr, "dev", &vx])?;
        self.linux.ip(&["link", "set", &vx, "up"])?;
        Ok(())
    }

    /// Echoes of every size that fits into the MTU without fragments.
    fn ping_every_size(&self, target: &str) -> Result<()> {
        let header = if target.contains(':') { 48 } else { 28 };
        self.ping(target, &format!("$(seq 0 {})", MTU - header))
    }

    /// Echoes of the smallest and the largest sizes.
    fn ping_some_sizes(&self, target: &str) -> Result<()> {
        self.ping(target, "0 1 17 18 19 1000 1371 1372")
    }

    fn ping(&self, target: &str, sizes: &str) -> Result<()> {
        let script = format!(
            "for s in {sizes}; do ping -q -c 1 -W 5 -n -M do -s $s {target} || {{ echo size $s; exit 1; }}; done"
        );
        checked(self.guest.command("sh").args(["-c", &script])).map(drop)
    }

    /// Sends pseudo-random bytes from the guest and to it, and compares.
    fn tcp_both_ways(&self, guest: &str, linux: &str) -> Result<()> {
        for (from, to, listen) in
            [(&self.guest, &self.linux, linux), (&self.linux, &self.guest, guest)]
        {
            let addr: SocketAddr = if listen.contains(':') {
                format!("[{listen}]:7077").parse()?
            } else {
                format!("{listen}:7077").parse()?
            };
            let (ready, wait) = std::sync::mpsc::channel();
            let server = to.run(move || {
                let l = TcpListener::bind(addr)?;
                ready.send(())?;
                let (mut s, _) = l.accept()?;
                s.set_read_timeout(Some(Duration::from_secs(20)))?;
                let mut got = Vec::new();
                s.read_to_end(&mut got)?;
                Ok(got)
            });
            wait.recv_timeout(Duration::from_secs(10)).context("server did not listen")?;
            let sent = noise(8 << 20);
            let copy = sent.clone();
            let client = from.run(move || {
                let mut s = TcpStream::connect_timeout(&addr, Duration::from_secs(10))?;
                s.set_write_timeout(Some(Duration::from_secs(20)))?;
                s.write_all(&copy)?;
                Ok(())
            });
            client.join().expect("client panicked")?;
            let got = server.join().expect("server panicked")?;
            ensure!(got == sent, "{} of {} bytes arrived, or not these", got.len(), sent.len());
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.host.stop()
    }
}

/// Bytes that repeat nowhere near a packet's size.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

/// A broadcast that no stack answers, with two numbers to know it by.
fn marked_broadcast(vnet: u8, round: u8) -> Vec<u8> {
    let mut f = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 8, 0x20, 1, 2, vnet, 0x88, 0xb5, round];
    f.resize(60, 0);
    f
}

#[test]
fn ipv4_underlay() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("v4", "192.0.2.1", "192.0.2.2")?;
    s.vnet(77, "tap0", "10.77.0.1/24", "10.77.0.2/24")?;
    s.guest.ip(&["addr", "add", "fd77::1/64", "dev", "tap0", "nodad"])?;
    s.linux.ip(&["addr", "add", "fd77::2/64", "dev", "vx77", "nodad"])?;
    s.ping_every_size("10.77.0.2")?;
    s.ping_every_size("fd77::2")?;
    s.tcp_both_ways("10.77.0.1", "10.77.0.2")?;
    s.tcp_both_ways("fd77::1", "fd77::2")?;
    s.finish()
}

#[test]
fn ipv6_underlay() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("v6", "2001:db8::1", "2001:db8::2")?;
    s.vnet(78, "tap0", "10.78.0.1/24", "10.78.0.2/24")?;
    s.ping_some_sizes("10.78.0.2")?;
    s.tcp_both_ways("10.78.0.1", "10.78.0.2")?;
    s.finish()
}

#[test]
fn vlan_tagged_inner_frames() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("vl", "192.0.2.1", "192.0.2.2")?;
    s.vnet(79, "tap0", "10.79.0.1/24", "10.79.0.2/24")?;
    let open = |ns: &Netns, dev: &'static str| {
        ns.run(move || PacketSocket::open(dev)).join().expect("thread panicked")
    };
    let (ours, theirs) = (open(&s.guest, "tap0")?, open(&s.linux, "vx79")?);
    for (from, to) in [(&ours, &theirs), (&theirs, &ours)] {
        // With the tag a frame may be four bytes longer than without.
        for payload in [46, 47, 500, 1399, MTU] {
            for tci in [33_u16, 0xafff, 0x0001] {
                let mut frame =
                    vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 8, 0x20, 1, 2, 3, 0x81, 0x00];
                frame.extend(tci.to_be_bytes());
                // An ethertype that no stack answers (RFC 5342: for experiments).
                frame.extend([0x88, 0xb5]);
                frame.extend(noise(payload));
                from.send(&frame)?;
                let got = to.receive(|f| f.get(16..18) == Some(&[0x88, 0xb5]))?;
                ensure!(got == frame, "tag {tci:#x}, {payload} bytes: another frame arrived");
            }
        }
    }
    s.ping_some_sizes("10.79.0.2")?;
    s.finish()
}

#[test]
fn vnets_share_one_socket_and_stay_apart() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("vn", "192.0.2.1", "192.0.2.2")?;
    s.vnet(1, "tap1", "10.81.0.1/24", "10.81.0.2/24")?;
    s.vnet(2, "tap2", "10.82.0.1/24", "10.82.0.2/24")?;
    s.vnet(0xff_ffff, "tap3", "10.83.0.1/24", "10.83.0.2/24")?;
    for target in ["10.81.0.2", "10.82.0.2", "10.83.0.2"] {
        s.ping_some_sizes(target)?;
    }
    // A broadcast of each vnet shows on that vnet's device and on no other.
    let mut pairs = Vec::new();
    for (tap, vx) in [("tap1", "vx1"), ("tap2", "vx2"), ("tap3", "vx16777215")] {
        let open = |ns: &Netns, dev: &'static str| {
            ns.run(move || PacketSocket::open(dev)).join().expect("thread panicked")
        };
        pairs.push((open(&s.guest, tap)?, open(&s.linux, vx)?));
    }
    for round in 0..3_u8 {
        for (n, (tap, _)) in pairs.iter().enumerate() {
            tap.send(&marked_broadcast(n as u8, round))?;
        }
    }
    for round in 0..3_u8 {
        for (n, (_, vx)) in pairs.iter().enumerate() {
            // The next one to come is this one: nothing of the others came in between.
            let got = vx.receive(|f| f.get(12..14) == Some(&[0x88, 0xb5]))?;
            ensure!(got == marked_broadcast(n as u8, round), "vnet {n}: not frame {round} came");
        }
    }
    s.finish()
}
