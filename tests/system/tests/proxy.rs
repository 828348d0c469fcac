// SPDX-License-Identifier: CDDL-1.0
//! ARP, neighbour discovery and DHCP of ordinary Linux guests, answered by varpd with the files plugin.
//!
//! ```text
//!    guest 1 <-TAP-> host 1: fakekerneld, varpd <-- veth --> host 2: fakekerneld, varpd <-TAP-> guest 2
//!    10.1.0.1, fd05::1     192.0.2.1                          192.0.2.2      10.1.0.2, fd05::2, dnsmasq
//! ```
//!
//! No broadcast or multicast crosses the overlay: what the guests know of each other, varpd told them.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use system_tests::packet::PacketSocket;
use system_tests::{Netns, NetnsHost, cannot_use_netns, checked, skip};
use varpd_harness::frames::{ASKER, KINDS, Kind, OWNER, arp_request, solicitation, tagged};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
const TAP: &str = "tap0";

/// Why these tests cannot run here.
fn cannot_run() -> Option<&'static str> {
    cannot_use_netns().or_else(|| {
        let busybox = Command::new("busybox").arg("--list").output();
        let list = busybox.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
        let has = |applet| list.as_ref().is_ok_and(|l| l.lines().any(|line| line == applet));
        if !["arping", "udhcpc"].into_iter().all(has) {
            return Some("needs busybox with arping and udhcpc");
        }
        let dnsmasq = Command::new("dnsmasq").arg("--version").output();
        dnsmasq.is_err().then_some("needs dnsmasq")
    })
}

/// A host and its guest.
struct Site {
    host: NetnsHost,
    guest: Netns,
}

/// Two of them.
struct Setup {
    sites: [Site; 2],
    dir: tempfile::TempDir,
}

fn mac(n: usize) -> String {
    format!("2:8:20:0:0:{n}")
}

/// The same as Linux shows it.
fn linux_mac(n: usize) -> String {
    format!("02:08:20:00:00:0{n}")
}

impl Setup {
    /// `tag` keeps the namespaces of tests that run at the same time apart.
    fn new(tag: &str) -> Result<Setup> {
        let dir = tempfile::tempdir()?;
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
        let config = dir.path().join("hosts.json");
        // The second guest has the DHCP server of both.
        let host = |n| {
            serde_json::json!({
                "ip": format!("192.0.2.{n}"), "port": 4789, "arp": format!("10.1.0.{n}"),
                "ndp": format!("fd05::{n}"), "dhcp-proxy": mac(2),
            })
        };
        let hosts = serde_json::json!({ mac(1): host(1), mac(2): host(2) });
        std::fs::write(&config, hosts.to_string())?;

        let pid = std::process::id();
        let netns = |role: &str| Netns::create(&format!("ovt-{tag}{role}-{pid}"));
        let (h1, h2) = (netns("h1")?, netns("h2")?);
        h1.ip(&["link", "add", "under", "mtu", "1600", "type", "veth"]
            .iter()
            .chain(&["peer", "name", "under", "mtu", "1600", "netns", h2.name()])
            .copied()
            .collect::<Vec<_>>())?;
        for (n, ns) in [(1, &h1), (2, &h2)] {
            ns.ip(&["addr", "add", &format!("192.0.2.{n}/24"), "dev", "under"])?;
            ns.ip(&["link", "set", "under", "up"])?;
            // A veth passes checksums on undone, also those of frames inside of VXLAN.
            checked(ns.command("ethtool").args(["-K", "under", "tx", "off"]))?;
        }
        let site = |n, ns, guest| Site::new(n, ns, guest, &config);
        let sites = [site(1, h1, netns("g1")?)?, site(2, h2, netns("g2")?)?];
        Ok(Setup { sites, dir })
    }

    fn guests(&self) -> [&Netns; 2] {
        [&self.sites[0].guest, &self.sites[1].guest]
    }

    fn stop(self) -> Result<()> {
        for site in self.sites {
            site.host.stop()?;
        }
        Ok(())
    }
}

impl Site {
    fn new(n: usize, ns: Netns, guest: Netns, config: &Path) -> Result<Site> {
        let host = NetnsHost::start(ns, EXE)?;
        let props = format!("vxlan/listen_ip=192.0.2.{n},files/config={}", config.display());
        let create =
            ["create-overlay", "-e", "vxlan", "-s", "files", "-v", "5", "-p", &props, "ov5"];
        host.run("dladm", &create)?;
        host.run("dladm", &["create-vnic", "-l", "ov5", "-m", &mac(n), "vnic5"])?;
        let tap = ["guest", "attach-tap", "vnic5", "--netns", guest.name(), "--tap", TAP];
        host.run("fkadm", &tap)?;
        guest.ip(&["link", "set", TAP, "up", "mtu", "1400"])?;
        Ok(Site { host, guest })
    }
}

/// Gives a guest an address, which Linux makes sure is not taken, and waits until it has. Fails if it is.
fn add_address(guest: &Netns, addr: &str) -> Result<()> {
    guest.ip(&["addr", "add", addr, "dev", TAP])?;
    let bare = addr.split('/').next().unwrap_or(addr);
    until("duplicate address detection", || {
        let show =
            guest.command("ip").args(["-o", "addr", "show", "dev", TAP, "to", bare]).output()?;
        let text = String::from_utf8_lossy(&show.stdout).into_owned();
        ensure!(text.contains(bare), "{bare} is not there: {text}");
        ensure!(!text.contains("dadfailed"), "said to be taken: {text}");
        Ok(!text.contains("tentative"))
    })
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds()? {
        ensure!(Instant::now() < end, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn ping(guest: &Netns, target: &str) -> Result<()> {
    checked(guest.command("ping").args(["-q", "-n", "-c", "3", "-i", "0.2", "-W", "10", target]))
        .map(drop)
}

/// What a guest knows of a neighbour.
fn neighbour(guest: &Netns, addr: &str) -> Result<String> {
    let out = checked(guest.command("ip").args(["neigh", "show", "dev", TAP, "to", addr]))?;
    Ok(String::from_utf8(out.stdout)?)
}

/// Whether somebody answers an ARP probe for an address (RFC 5227 2.1.1).
fn is_taken(guest: &Netns, addr: &str) -> Result<bool> {
    let out = guest
        .command("busybox")
        .args(["arping", "-D", "-c", "3", "-w", "10", "-I", TAP, addr])
        .output()?;
    match out.status.code() {
        Some(0) => Ok(false),
        Some(1) if out.stderr.is_empty() => Ok(true),
        _ => bail!("arping: {out:?}"),
    }
}

#[test]
fn a_linux_guest_finds_its_neighbours_over_ipv4_and_ipv6() -> Result<()> {
    if let Some(why) = cannot_run() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("nb")?;
    let [g1, g2] = s.guests();
    for (n, guest) in [(1, g1), (2, g2)] {
        add_address(guest, &format!("10.1.0.{n}/24"))?;
        add_address(guest, &format!("fd05::{n}/64"))?;
    }
    for (guest, other) in [(g1, 2), (g2, 1)] {
        for target in [format!("10.1.0.{other}"), format!("fd05::{other}")] {
            ping(guest, &target)?;
            let entry = neighbour(guest, &target)?;
            ensure!(entry.contains(&linux_mac(other)), "{target}: {entry}");
        }
    }
    // Nobody has these.
    for target in ["10.1.0.99", "fd05::99"] {
        let ping = g1.command("ping").args(["-q", "-n", "-c", "1", "-W", "1", target]).output()?;
        ensure!(!ping.status.success(), "{ping:?}");
        let entry = neighbour(g1, target)?;
        ensure!(!entry.contains("lladdr"), "{entry}");
    }
    // A guest that has forgotten asks again.
    g1.ip(&["neigh", "flush", "dev", TAP])?;
    ping(g1, "10.1.0.2")?;
    ping(g1, "fd05::2")?;
    s.stop()
}

#[test]
fn duplicate_address_detection_is_not_misled() -> Result<()> {
    if let Some(why) = cannot_run() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("dd")?;
    let [g1, _] = s.guests();
    // Its own address, of which varpd knows the owner; and one of somebody else, who alone may say that it is
    // taken, and is not asked.
    for addr in ["fd05::1/64", "fd05::2/64"] {
        add_address(g1, addr)?;
    }
    g1.ip(&["addr", "del", "fd05::2/64", "dev", TAP])?;
    // In IPv4 varpd answers a probe: not the owner itself.
    ensure!(!is_taken(g1, "10.1.0.1")?, "by the guest itself");
    ensure!(is_taken(g1, "10.1.0.2")?, "by the other guest");
    ensure!(!is_taken(g1, "10.1.0.99")?, "by nobody");
    // And no announcement.
    g1.ip(&["addr", "add", "10.1.0.1/24", "dev", TAP])?;
    let announce = ["arping", "-U", "-c", "2", "-I", TAP, "10.1.0.1"];
    let out = checked(g1.command("busybox").args(announce))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(text.contains("Received 0 response"), "{text}");
    s.stop()
}

#[test]
fn answers_have_the_vlan_tag_of_the_question() -> Result<()> {
    if let Some(why) = cannot_run() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("vt")?;
    let [g1, _] = s.guests();
    let asked = g1.run(|| {
        let socket = PacketSocket::open(TAP)?;
        let solicitation = solicitation("fd05::2".parse()?, Some(ASKER));
        for (kind, plain) in [(Kind::Arp, arp_request()), (Kind::Ndp, solicitation)] {
            for question in [tagged(&plain, 0x6007), plain] {
                socket.send(&question)?;
                let answer = socket.receive(|frame| frame[..12] == [ASKER.0, OWNER.0].concat())?;
                kind.check(&question, &answer);
            }
        }
        Ok(())
    });
    asked.join().expect("a good answer")?;
    s.stop()
}

/// Each bit of each question flipped, and each truncation: some are answered, none does harm.
#[test]
fn a_hostile_guest_is_answered_or_not_and_others_go_on() -> Result<()> {
    if let Some(why) = cannot_run() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("ho")?;
    let [g1, g2] = s.guests();
    for (n, guest) in [(1, g1), (2, g2)] {
        guest.ip(&["addr", "add", &format!("10.1.0.{n}/24"), "dev", TAP])?;
    }
    let sent = g1.run(|| {
        let socket = PacketSocket::open(TAP)?;
        let mut sent = 0;
        for question in KINDS.map(Kind::question) {
            let question = tagged(&question, 5);
            // All of the headers.
            for bit in 0..question.len().min(100) * 8 {
                let mut frame = question.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                socket.send(&frame)?;
                sent += 1;
            }
            for len in 14..question.len() {
                socket.send(&question[..len])?;
                sent += 1;
            }
        }
        socket.receive(|frame| frame[..12] == [ASKER.0, OWNER.0].concat())?;
        Ok(sent)
    });
    ensure!(sent.join().expect("thread panicked")? > 2000);
    ping(g1, "10.1.0.2")?;
    ping(g2, "10.1.0.1")?;
    s.stop()
}

/// A process that is killed in the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dhcp_client_gets_its_lease_from_a_server_behind_the_overlay() -> Result<()> {
    if let Some(why) = cannot_run() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new("dc")?;
    let [client, server] = s.guests();
    let file = |name: &str| s.dir.path().join(name).display().to_string();
    server.ip(&["addr", "add", "10.1.0.2/24", "dev", TAP])?;
    let log = file("dnsmasq.log");
    let out = std::fs::File::create(&log)?;
    // A server that sends its answers to the client's address, as RFC 2131 4.1 has it: broadcasts do not cross the
    // overlay.
    let mut command = server.command("dnsmasq");
    command.args([
        "-k",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--no-ping",
        "--pid-file=",
    ]);
    command.args(["--bind-interfaces", "--log-dhcp", "--log-facility=-", "--interface", TAP]);
    command.args(["--dhcp-authoritative", "--dhcp-range=10.1.0.1,10.1.0.1,255.255.255.0,10m"]);
    command.arg(format!("--dhcp-host={},10.1.0.1", linux_mac(1)));
    command.arg(format!("--dhcp-leasefile={}", file("leases")));
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let _server = Running(command.spawn()?);
    until("dnsmasq", || Ok(std::fs::read_to_string(&log)?.contains("sockets bound")))?;

    let (script, bound) = (file("script"), file("bound"));
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface\n\
             echo $ip/$mask from $serverid for $lease >{bound}\n"
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    // -a: probes the address before it takes it.
    let ask = ["udhcpc", "-i", TAP, "-f", "-q", "-n", "-t", "20", "-T", "2", "-a", "-s", &script];
    checked(client.command("busybox").args(ask))
        .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
    let text = std::fs::read_to_string(&bound)?;
    ensure!(text.trim() == "10.1.0.1/24 from 10.1.0.2 for 600", "{text}");
    ping(client, "10.1.0.2")?;
    s.stop()
}
