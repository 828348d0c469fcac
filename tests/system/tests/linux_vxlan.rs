// SPDX-License-Identifier: CDDL-1.0
//! Against the Linux kernel's own vxlan device: what we send it understands, and the other way round.
//!
//! The guest is ordinary Linux in a namespace behind a TAP, so both ends of every connection are real IP stacks and
//! only the overlay between them is ours.

use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
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
            &["guest", "attach-tap", &vnic, "--netns", self.guest.name(), "--name", dev],
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

    fn ping_every_size(&self, target: &str) -> Result<()> {
        let header = if target.contains(':') { 48 } else { 28 };
        for size in (0..=MTU - header).rev().step_by(97).chain([0, 1, 2, 16, 17]) {
            checked(self.guest.command("ping").args([
                "-c",
                "1",
                "-W",
                "5",
                "-n",
                "-M",
                "do",
                "-s",
                &size.to_string(),
                target,
            ]))?;
        }
        Ok(())
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
    s.ping_every_size("10.78.0.2")?;
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
    for (ns, dev, addr) in [(&s.guest, "tap0", "10.80.0.1/24"), (&s.linux, "vx79", "10.80.0.2/24")]
    {
        ns.ip(&["link", "add", "link", dev, "name", "tagged", "type", "vlan", "id", "33"])?;
        ns.ip(&["addr", "add", addr, "dev", "tagged"])?;
        ns.ip(&["link", "set", "tagged", "up"])?;
    }
    s.ping_every_size("10.80.0.2")?;
    s.tcp_both_ways("10.80.0.1", "10.80.0.2")?;
    s.ping_every_size("10.79.0.2")?;
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
        s.ping_every_size(target)?;
    }
    // A frame of vnet 1 must not show on vnet 2: from tap1, nobody has an address of vnet 2.
    let stray =
        s.guest.command("ping").args(["-c", "1", "-W", "1", "-I", "tap1", "10.82.0.2"]).output()?;
    ensure!(!stray.status.success(), "a frame crossed from vnet 1 to vnet 2");
    s.finish()
}
