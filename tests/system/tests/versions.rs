// SPDX-License-Identifier: CDDL-1.0
//! Programs, plugins and kernels of versions 1 and 2, each with those of the other: whole processes
//! over the real driver.
//!
//! | version 1 | version 2 | test |
//! |---|---|---|
//! | plugin (C) | varpd | `v1_plugin_on_v2_varpd_with_a_router` |
//! | | plugin (C), varpd, kernel, client | `v2_plugin_in_c_is_asked_for_routes` |
//! | door client | varpd | the same |
//! | kernel | varpd, plugin, dladm | `v2_varpd_on_v1_kernel` |
//! | varpd, as the kernel sees it | kernel | `v1_varpd_on_v2_kernel` |
//!
//! The others are where what they need is:
//!
//! | version 1 | version 2 | test |
//! |---|---|---|
//! | SVP server | varpd, plugin | `v1_svp_server_and_v2_varpd` in `svp` |
//! | SVP client | portolan | `v1_svp_client_and_v2_portolan` in `svp` |
//! | SVP server, beside one of version 2 | svp engine | `routes_need_version_2` in varpd-svp |
//! | handle | handle and kernel | `handles_speak_their_version_side_by_side`, `version_1_is_not_asked_about_routes` in kernel/overlay |
//! | varpd | door client, dladm | `v2_client_on_v1_varpd_knows_what_it_cannot_have` in libvarpd-client, `v1_varpd_on_v2_kernel_shows_what_it_knows` in dladm |
//! | varpd or kernel | libdladm | `v1_varpd_and_v1_kernel_say_what_they_do_not_have` in libdladm |

use anyhow::{Context, Result, bail, ensure};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, VarpdId};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;
use system_tests::{Netns, NetnsHost, cannot_use_netns, skip, wait};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");

/// What every plugin here says of guests with an address that ends in 9.
const PEER: &str = "127.0.0.9:4789";

/// A host, and the guest `n` of network 100 + n: 10.n.0.2, 2:8:20:n:0:2.
struct Setup {
    guests: Vec<(usize, Netns)>,
    host: NetnsHost,
}

/// Plugins in C of both versions: `test`, which sends to 127.0.0.N what is for an address that ends
/// in N, and `routes`.
fn plugins(dir: &Path) -> Result<Vec<PathBuf>> {
    let (v1, v2) = (dir.join("test.so"), dir.join("routes.so"));
    varpd_harness::compile(&v1, &["PREFIX=127,0,0"]);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cc = std::process::Command::new("cc")
        .args(["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(["-pthread", "-shared", "-fPIC", "-I"])
        .arg(here.join("../../usr/include"))
        .arg(here.join("../../lib/libvarpd-c/tests/c/routes.c"))
        .arg("-o")
        .arg(&v2)
        .output()?;
    ensure!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    Ok(vec![v1, v2])
}

impl Setup {
    fn new(tag: &str, kernel: &str) -> Result<Setup> {
        let dir = tempfile::tempdir()?;
        let ns = Netns::create(&format!("ovt-{tag}h-{}", std::process::id()))?;
        let host = NetnsHost::start_with(ns, EXE, kernel, &plugins(dir.path())?)?;
        Ok(Setup { guests: Vec::new(), host })
    }

    fn dladm(&self, words: &str) -> Result<String> {
        self.host.run("dladm", &words.split_whitespace().collect::<Vec<_>>())
    }

    fn varpdadm(&self, words: &str) -> Result<serde_json::Value> {
        let words: Vec<_> = words.split_whitespace().chain(["--json"]).collect();
        Ok(serde_json::from_str(&self.host.run("varpdadm", &words)?)?)
    }

    /// What dladm says of something that cannot be.
    fn refused(&self, words: &str) -> Result<String> {
        let out = self.host.command("dladm").args(words.split_whitespace()).output()?;
        ensure!(out.status.code() == Some(1), "{words}: {}", out.status);
        Ok(String::from_utf8(out.stderr)?)
    }

    /// Makes a network with its guest.
    fn network(&mut self, n: usize, search: &str) -> Result<()> {
        self.dladm(&format!("create-overlay -e vxlan -v 10{n} {search} net{n}0"))?;
        self.dladm(&format!("create-vnic -l net{n}0 -m 2:8:20:{n}:0:2 vnic{n}"))?;
        let guest = Netns::create(&format!("{}-{n}", self.host.ns().name()))?;
        let (vnic, name) = (format!("vnic{n}"), guest.name().to_owned());
        let tap = ["guest", "attach-tap", &vnic, "--netns", &name, "--tap", "card0"];
        self.host.run("fkadm", &tap)?;
        guest.ip(&["addr", "add", &format!("10.{n}.0.2/16"), "dev", "card0"])?;
        guest.ip(&["link", "set", "card0", "up", "mtu", "1400"])?;
        guest.ip(&["route", "add", "default", "via", &format!("10.{n}.0.1")])?;
        self.guests.push((n, guest));
        Ok(())
    }

    fn guest(&self, n: usize) -> &Netns {
        let found = self.guests.iter().find(|(m, _)| *m == n);
        &found.unwrap_or_else(|| panic!("no network {n}")).1
    }

    /// Whether a guest gets an answer.
    fn ping(&self, n: usize, addr: &str, patience: &str) -> Result<bool> {
        let args = ["-q", "-n", "-c", "1", "-W", patience, addr];
        Ok(self.guest(n).command("ping").args(args).output()?.status.success())
    }

    /// A socket of another host.
    fn peer(&self) -> Result<UdpSocket> {
        let socket = system_tests::in_netns(self.host.ns().name(), || {
            let socket = UdpSocket::bind(PEER)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok(socket)
        });
        socket.join().map_err(|_| anyhow::anyhow!("the thread of the namespace ended"))?
    }

    /// A guest sends to 10.n.0.9, which must reach the peer.
    fn switched(&self, n: usize, peer: &UdpSocket) -> Result<()> {
        let mut bytes = [0; 2048];
        for _ in 0..30 {
            self.ping(n, &format!("10.{n}.0.9"), "1")?;
            while let Ok(size) = peer.recv(&mut bytes) {
                let (header, frame) = bytes[..size].split_at(8);
                let vnet = u32::from_be_bytes([0, header[4], header[5], header[6]]);
                ensure!(vnet == 100 + n as u32, "a frame of network {vnet}");
                if frame[..6] == [2, 8, 0x20, n as u8, 0, 9] && frame[12..14] == [8, 0] {
                    return Ok(());
                }
            }
        }
        bail!("nothing of network 10{n} came to {PEER}\n{}", self.host.log("varpd"))
    }

    /// The sum of a counter of all links.
    fn count(&self, name: &str) -> Result<u64> {
        let kstats = self.host.run("fkadm", &["kstat", "-p", "overlay"])?;
        let of = |l: &str| l.split_whitespace().last().and_then(|n| n.parse::<u64>().ok());
        Ok(kstats.lines().filter(|l| l.contains(name)).filter_map(of).sum())
    }

    /// A client of varpd's door, and an overlay's instance.
    fn client(&self, link: &str) -> Result<(Client, VarpdId)> {
        let shown = self.dladm(&format!("show-overlay -p -o property,value {link}"))?;
        let id = shown.lines().find_map(|l| l.strip_prefix("varpd/id:")).context("varpd/id")?;
        let client = Client::open(&self.host.root()).map_err(|e| anyhow::anyhow!("{e}"))?;
        Ok((client, VarpdId(id.parse()?)))
    }
}

const ROUTES: &str = "-s routes -p vxlan/listen_ip=127.0.0.1";

#[test]
fn v2_plugin_in_c_is_asked_for_routes() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let mut s = Setup::new("c2", "fakekerneld")?;
    for n in 1..=2 {
        let props = format!("{ROUTES},routes/at=127.0.0.1,routes/router=2:8:20:ff:0:{n} -d 7");
        s.network(n, &props)?;
    }
    let shown = s.dladm("show-overlay -p -o property,value net10")?;
    for line in ["dcid:7", r"routes/router:2\:8\:20\:ff\:0\:1"] {
        ensure!(shown.lines().any(|l| l == line), "{line}: {shown}");
    }
    ensure!(s.ping(1, "10.2.0.2", "30")?, "{}", s.host.log("varpd"));
    let routes = "show-overlay -t -p -o srcip,dstip,vlan,vnet,newvlan,router,dcid,mac,state net10";
    let route = r"10.1.0.2:10.2.0.2:0:102:0:2\:8\:20\:ff\:0\:2:0:2\:8\:20\:2\:0\:2:valid";
    let shown = s.dladm(routes)?;
    ensure!(shown.lines().any(|l| l == route), "{shown}");

    // A client of version 1 sees no router, and does not stumble over it.
    let (client, id) = s.client("net10")?;
    let router = MacAddr([2, 8, 0x20, 0xff, 0, 1]);
    let mut seen = Vec::new();
    client.cache_walk(id, |mac, entry| {
        seen.push((mac, *entry));
        true
    })?;
    ensure!(!seen.iter().any(|(mac, _)| *mac == router), "{seen:?}");
    ensure!(client.cache_get(id, router) == Err(Errno::ENOENT));
    let mut routers = 0;
    client.guest_walk(id, |guest, entry| {
        routers += u32::from((guest.dcid, guest.mac, *entry) == (7, router, CacheEntry::Router));
        true
    })?;
    ensure!(routers == 1, "{routers}");

    // The plugin takes its routes back.
    s.dladm("modify-overlay -p routes/closed=2 net10")?;
    let shown = s.dladm(routes)?;
    ensure!(!shown.contains("10.2.0.2"), "{shown}");
    ensure!(!s.ping(1, "10.2.0.2", "1")?);
    s.dladm("modify-overlay -p routes/closed=0 net10")?;
    ensure!(s.ping(1, "10.2.0.2", "30")?, "{}", s.host.log("varpd"));
    ensure!(s.count(":orouted")? >= 4);

    let seen = &s.varpdadm("lookups net10")?[0]["routes"];
    ensure!(seen["found"].as_u64() >= Some(2) && seen["not_found"].as_u64() >= Some(1), "{seen}");
    ensure!(s.varpdadm("instances net10")?[0]["dcid"] == 7);
    ensure!(s.varpdadm("status")?["kernel"] == 2);
    s.host.stop()
}

/// Of the routed original: its route_cache_size refuses every number but 0, and dladm cannot set any
/// of them once the overlay is active.
#[test]
fn s10_cache_properties_are_set_by_dladm_while_the_overlay_works() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let mut s = Setup::new("p2", "fakekerneld")?;
    s.network(1, "-s test -p vxlan/listen_ip=127.0.0.1")?;
    let all =
        ["vl2_cache_size=300", "route_cache_size=4194304", "_vl2_cache_a=0", "_route_cache_a=100"];
    s.dladm(&format!("modify-overlay -p {} net10", all.join(",")))?;
    let shown = s.dladm("show-overlay -p -o property,value net10")?;
    for prop in all.map(|p| p.replace('=', ":")) {
        ensure!(shown.lines().any(|l| l == prop), "{prop}: {shown}");
    }
    s.dladm("modify-overlay -p vl2_cache_size=0 net10")?;
    let default = "show-overlay -p -o property,value,default,possible net10";
    let shown = s.dladm(default)?;
    let line = shown.lines().find_map(|l| l.strip_prefix("vl2_cache_size:")).context("the size")?;
    let values: Vec<_> = line.split(':').collect();
    ensure!(values[0] == values[1] && values[2] == "256-4194304", "{values:?}");
    for (bad, why) in [
        ("vl2_cache_size=255", "invalid argument"),
        ("route_cache_size=4194305", "invalid argument"),
        ("_route_cache_a=101", "invalid argument"),
        ("_vl2_cache_a=x", "invalid argument"),
        ("dcid=1", "operation not supported"),
        ("nosuch=1", "object not found"),
    ] {
        let prop = bad.split('=').next().unwrap_or(bad);
        let said = s.refused(&format!("modify-overlay -p {bad} net10"))?;
        let want = format!("failed to set property {prop} for overlay device net10: {why}");
        ensure!(said.contains(&want), "{said}");
    }
    s.host.stop()
}

#[test]
fn v1_plugin_on_v2_varpd_with_a_router() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let mut s = Setup::new("c1", "fakekerneld")?;
    s.network(1, "-s test -p vxlan/listen_ip=127.0.0.1")?;
    for (ip, mac) in [("10.1.0.9", "2:8:20:1:0:9"), ("10.1.0.1", "2:8:20:ff:0:1")] {
        s.guest(1).ip(&["neigh", "replace", ip, "lladdr", mac, "dev", "card0"])?;
    }
    let peer = s.peer()?;
    s.switched(1, &peer)?;
    s.dladm("modify-overlay -s 2:8:20:ff:0:1=router net10")?;
    let dropped = s.count(":drop_lookup_drop")?;
    wait("a packet for the router is dropped", || {
        s.ping(1, "10.2.0.2", "1").is_ok_and(|answered| !answered)
            && s.count(":drop_lookup_drop").is_ok_and(|n| n > dropped)
    })?;
    let log = s.host.log("varpd");
    ensure!(log.contains("the instance's plugin knows no routes"), "{log}");
    ensure!(s.count(":orouted")? == 0);
    s.switched(1, &peer)?;
    s.host.stop()
}

/// Nothing is routed, everything is switched, with plugins of both versions.
fn works_as_version_1(s: &mut Setup) -> Result<()> {
    s.network(1, "-s test -p vxlan/listen_ip=127.0.0.1")?;
    let mac = "2:8:20:1:0:9";
    s.guest(1).ip(&["neigh", "replace", "10.1.0.9", "lladdr", mac, "dev", "card0"])?;
    s.network(2, &format!("{ROUTES},routes/at=127.0.0.9,routes/router=2:8:20:ff:0:2"))?;
    let peer = s.peer()?;
    s.switched(1, &peer)?;
    // Here also ARP is answered by the plugin of version 2.
    s.switched(2, &peer)?;
    // It says that this is a router, for which there is no word.
    let dropped = s.count(":drop_lookup_drop")?;
    wait("a packet for the router is dropped", || {
        s.ping(2, "10.1.0.2", "1").is_ok_and(|answered| !answered)
            && s.count(":drop_lookup_drop").is_ok_and(|n| n > dropped)
    })?;
    s.switched(2, &peer)?;
    let (client, id) = s.client("net20")?;
    ensure!(client.route_walk(id, |_| true) == Err(Errno::ENOTSUP));
    let shown = s.dladm("show-overlay -t net20")?;
    ensure!(shown.contains("2:8:20:2:0:9      127.0.0.9:4789"), "{shown}");
    s.dladm("modify-overlay -d 2:8:20:2:0:9 net20")?;
    s.dladm("modify-overlay -f net20")?;
    ensure!(s.varpdadm("status")?["kernel"] == 1);
    let log = s.host.log("varpd");
    ensure!(log.matches("the kernel speaks version 1").count() == 1, "{log}");
    Ok(())
}

#[test]
fn v2_varpd_on_v1_kernel() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let mut s = Setup::new("k1", "kernel-v1")?;
    let why = "the kernel is of version 1, which has no data centers";
    let said = s.refused(&format!("create-overlay -d 7 -e vxlan -v 101 {ROUTES} net10"))?;
    ensure!(said.contains(why), "{said}");
    works_as_version_1(&mut s)?;
    for change in ["-s 7/2:8:20:0:0:1=drop", "-s 2:8:20:0:0:1=router", "-d 7/2:8:20:0:0:1"] {
        let said = s.refused(&format!("modify-overlay {change} net10"))?;
        ensure!(said.contains(why), "{change}: {said}");
    }
    let said = s.refused("modify-overlay -p route_cache_size=300 net10")?;
    ensure!(said.contains("object not found"), "{said}");
    let shown = s.dladm("show-overlay -p -o property net10")?;
    let kernel = "mtu\nvnetid\nencap\nvarpd/id\nvxlan/listen_ip\nvxlan/listen_port\n";
    ensure!(shown.starts_with(kernel), "{shown}");
    s.host.stop()
}

#[test]
fn v1_varpd_on_v2_kernel() -> Result<()> {
    if let Some(why) = cannot_use_netns() {
        skip(why);
        return Ok(());
    }
    let mut s = Setup::new("v1", "kernel-for-v1")?;
    works_as_version_1(&mut s)?;
    // What needs no varpd works: the kernel is new.
    s.dladm("modify-overlay -p route_cache_size=300,vl2_cache_size=300 net10")?;
    let shown = s.dladm("show-overlay -p -o property,value net10")?;
    ensure!(shown.contains("\nroute_cache_size:300\n"), "{shown}");
    let said = s.refused("modify-overlay -s 2:8:20:0:0:1=router net10")?;
    ensure!(said.contains("operation not supported"), "{said}");
    s.host.stop()
}
