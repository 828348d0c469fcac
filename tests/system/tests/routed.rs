// SPDX-License-Identifier: CDDL-1.0
//! Networks that are routed without a router in the path: three virtual networks with a Linux guest each,
//! whose subnets the files plugin attaches to one another and takes apart again.

use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use system_tests::{Netns, NetnsHost, cannot_use_netns, checked, skip};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");
const NAMES: [&str; 3] = ["red", "blue", "green"];

/// The guest `n` (1, 2, 3) of virtual network 100 + n is 10.n.0.2 and fd00:n::2, untagged; its routers
/// are 10.n.0.1 and fd00:n::1.
struct Setup {
    dir: tempfile::TempDir,
    guests: Vec<Netns>,
    host: NetnsHost,
}

impl Setup {
    fn new() -> Result<Setup> {
        let pid = std::process::id();
        let host = NetnsHost::start(Netns::create(&format!("ovt-rh-{pid}"))?, EXE)?;
        let mut s = Setup { dir: tempfile::tempdir()?, guests: Vec::new(), host };
        s.write(&[])?;
        for (name, n) in NAMES.iter().zip(1..) {
            let props = format!("vxlan/listen_ip=127.0.0.1,files/config={}", s.file().display());
            let (link, vnet) = (format!("{name}0"), format!("{}", 100 + n));
            let args =
                ["create-overlay", "-e", "vxlan", "-s", "files", "-v", &vnet, "-p", &props, &link];
            s.host.run("dladm", &args)?;
            let mac = format!("2:8:20:0:0:{n}");
            s.host.run("dladm", &["create-vnic", "-l", &link, "-m", &mac, &format!("{name}1")])?;
            let guest = Netns::create(&format!("ovt-r{n}-{pid}"))?;
            let (vnic, v4, v6) =
                (format!("{name}1"), format!("10.{n}.0.2/24"), format!("fd00:{n}::2/64"));
            let tap = ["guest", "attach-tap", &vnic, "--netns", guest.name(), "--tap", "card0"];
            s.host.run("fkadm", &tap)?;
            guest.ip(&["addr", "add", &v4, "dev", "card0"])?;
            guest.ip(&["addr", "add", &v6, "dev", "card0", "nodad"])?;
            guest.ip(&["link", "set", "card0", "up", "mtu", "1400"])?;
            guest.ip(&["route", "add", "default", "via", &format!("10.{n}.0.1")])?;
            guest.ip(&["-6", "route", "add", "default", "via", &format!("fd00:{n}::1")])?;
            s.guests.push(guest);
        }
        Ok(s)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("networks.json")
    }

    /// Writes the file with these two networks attached to each other, or none.
    fn write(&self, attached: &[usize]) -> Result<()> {
        let mut text = String::from("{\n");
        for n in 1..=3 {
            text += &format!(
                "\"2:8:20:0:0:{n}\": {{\"ip\": \"127.0.0.1\", \"port\": 4789, \"arp\": \"10.{n}.0.2\", \
                 \"ndp\": \"fd00:{n}::2\", \"vlan\": 0, \"vid\": \"{}\"}},\n",
                100 + n
            );
        }
        text += "\"fabrics\": {\n";
        for n in 1..=3 {
            for (i, (prefix, router)) in [
                (format!("10.{n}.0.0/24"), format!("10.{n}.0.1")),
                (format!("fd00:{n}::/64"), format!("fd00:{n}::1")),
            ]
            .iter()
            .enumerate()
            {
                text += &format!(
                    "\"n{n}v{i}\": {{\"prefix\": \"{prefix}\", \"vlan\": 0, \"vid\": \"{}\", \
                     \"routerip\": \"{router}\", \"routermac\": \"2:8:20:ff:{i}:{n}\"}},\n",
                    100 + n
                );
            }
        }
        let group = |i| {
            let members: Vec<_> = attached.iter().map(|n| format!("\"n{n}v{i}\"")).collect();
            format!("\"v{i}\": [{}]", members.join(", "))
        };
        text += &format!("\"attached-fabrics\": {{{}, {}}}}}}}\n", group(0), group(1));
        Ok(std::fs::write(self.file(), text)?)
    }

    /// Attaches two networks, or none, while everything runs.
    fn attach(&self, attached: &[usize]) -> Result<()> {
        self.write(attached)?;
        let config = format!("files/config={}", self.file().display());
        for name in NAMES {
            self.host.run("dladm", &["modify-overlay", "-p", &config, &format!("{name}0")])?;
        }
        Ok(())
    }

    fn guest(&self, n: usize) -> &Netns {
        &self.guests[n - 1]
    }

    /// Whether a guest gets an answer from another, with either version of IP.
    fn reaches(&self, from: usize, to: usize, patience: &str) -> [bool; 2] {
        [format!("10.{to}.0.2"), format!("fd00:{to}::2")].map(|addr| {
            let args = ["-q", "-n", "-c", "1", "-W", patience, &addr];
            self.guest(from).command("ping").args(args).output().is_ok_and(|o| o.status.success())
        })
    }

    /// Who reaches whom, which must be the two attached ones and nobody else.
    fn matrix(&self, attached: &[usize]) -> Result<()> {
        for from in 1..=3 {
            for to in 1..=3 {
                if from == to {
                    continue;
                }
                let may = attached.contains(&from) && attached.contains(&to);
                // Those that do not reach each other are not waited for long.
                let seen = self.reaches(from, to, if may { "20" } else { "1" });
                ensure!(seen == [may; 2], "{from} to {to} with {attached:?} attached: {seen:?}");
            }
        }
        Ok(())
    }

    /// Frames that a guest got.
    fn received(&self, n: usize) -> Result<u64> {
        let counter = "/sys/class/net/card0/statistics/rx_packets";
        let out = checked(self.guest(n).command("cat").arg(counter))?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().parse()?)
    }
}

#[test]
fn guests_of_attached_networks_reach_each_other_and_nothing_else_crosses() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new()?;
    s.matrix(&[])?;
    for attached in [&[1, 2][..], &[], &[2, 3], &[1, 2]] {
        let third = (1..=3).find(|n| !attached.contains(n)).unwrap_or(3);
        s.attach(attached)?;
        let before = s.received(third)?;
        if let &[a, b] = attached {
            ensure!(s.reaches(a, b, "20") == [true; 2], "{a} to {b}");
            ensure!(s.received(third)? == before, "a frame crossed to {third}");
        }
        s.matrix(attached)?;
    }
    // A TTL that is used up ends at the router, which says nothing of it.
    let ping = ["-q", "-n", "-c", "1", "-W", "1", "-t", "1", "10.2.0.2"];
    ensure!(!s.guest(1).command("ping").args(ping).output()?.status.success());
    let kstats = s.host.run("fkadm", &["kstat", "-p", "overlay"])?;
    let count = |name: &str| -> u64 {
        let of = |l: &str| l.split_whitespace().last().and_then(|n| n.parse::<u64>().ok());
        kstats.lines().filter(|l| l.contains(name)).filter_map(of).sum()
    };
    ensure!(count(":orouted") > 8, "{kstats}");
    ensure!(count(":drop_tx_ttl") == 1, "{kstats}");
    s.host.stop()
}

/// What a guest knows of its router.
fn router(guest: &Netns, addr: &str) -> Result<String> {
    let out = checked(guest.command("ip").args(["neigh", "show", addr, "dev", "card0"]))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A guest that has not heard of its router for a while asks it, and it alone. Without an answer it
/// gives its routes up.
#[test]
fn a_router_answers_those_who_ask_whether_it_is_there() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let s = Setup::new()?;
    s.attach(&[1, 2])?;
    for (i, addr) in ["10.1.0.1", "fd00:1::1"].iter().enumerate() {
        ensure!(s.reaches(1, 2, "20")[i], "over {addr}");
        let mac = format!("02:08:20:ff:0{i}:01");
        ensure!(router(s.guest(1), addr)?.contains(&mac), "{}", router(s.guest(1), addr)?);
        s.guest(1)
            .ip(&["neigh", "replace", addr, "lladdr", &mac, "dev", "card0", "nud", "probe"])?;
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let known = router(s.guest(1), addr)?;
            ensure!(!known.contains("FAILED"), "{known}");
            if known.contains("REACHABLE") {
                break;
            }
            ensure!(Instant::now() < end, "{known}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    s.host.stop()
}
