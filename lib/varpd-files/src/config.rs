// SPDX-License-Identifier: CDDL-1.0
//! From the bytes of a file to an [`Index`], or to all that is wrong with them. No I/O; total.
//!
//! ```text
//!   { "2:8:20:aa:0:1": { "ip": .., "port": .., "arp": .., "ndp": .., "dhcp-proxy": .., "vlan": .., "vid": .. },
//!     "fabrics": { "blue": { "prefix": .., "vlan": .., "vid": .., "routerip": .., "routermac": .. },
//!                  "attached-fabrics": { "group": [ "blue", .. ] } } }
//! ```
//!
//! spec/varpd.md 7.2, and 7.4 for `vlan`, `vid` and the fabrics. A file with fabrics is in the *networks
//! form*, which wants more of its hosts.
use crate::index::{Host, Index, Owner};
use crate::json::{self, Kind, Node};
use crate::networks::{self, Router};
use crate::report::{Path, Problem, Report};
use crate::routes;
use overlay_abi::ids::{MacAddr, UnderlayAddr, VnetId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};

/// Largest VLAN id.
const VLAN_MAX: i64 = 4094;

/// What the link of an instance is.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its virtual network, which hosts belong to that do not say another.
    pub vnet: VnetId,
    /// Whether its destinations have a port.
    pub needs_port: bool,
}

/// What came of a file.
#[derive(Debug)]
pub enum Outcome {
    /// It can be used.
    Good(Index, Vec<Problem>),
    /// It is not JSON. There is one problem.
    Syntax(Problem),
    /// It is JSON and cannot be used: the first problems, and how many there are.
    Bad(Vec<Problem>, usize),
}

/// Reads a file.
pub fn parse(bytes: &[u8], link: Link) -> Outcome {
    let (text, broken) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(e) => {
            let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
            (std::str::from_utf8(good).unwrap_or_default(), Some(e.valid_up_to()))
        }
    };
    let report = Report::new(text);
    let syntax = |at, what: &str| {
        let (line, column) = report.place(at);
        Outcome::Syntax(Problem { line, column, key: String::new(), what: what.to_owned() })
    };
    if let Some(at) = broken {
        return syntax(at, "this is not UTF-8");
    }
    match json::parse(text) {
        Ok(top) => Config::read(&top, link, report),
        Err(e) => syntax(e.at, &e.what),
    }
}

struct Config<'a> {
    link: Link,
    report: Report<'a>,
    index: Index,
    /// Where each Ethernet address is.
    places: HashMap<MacAddr, usize>,
    /// Who has an IP address in a virtual network and VLAN; for all virtual networks.
    taken: HashMap<(VnetId, IpAddr, Option<u16>), usize>,
    claims: HashMap<(VnetId, IpAddr), Claim>,
}

/// Who has an IP address in a virtual network.
struct Claim {
    at: usize,
    mac: MacAddr,
    /// `None` is any.
    vlan: Option<u16>,
    /// Others have it as well, in other VLANs.
    shared: bool,
}

/// In which network something is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Virtual network.
    pub vnet: VnetId,
    /// VLAN, 0 for untagged; `None` is any.
    pub vlan: Option<u16>,
}

impl<'a> Config<'a> {
    fn read(top: &Node<'a>, link: Link, report: Report<'a>) -> Outcome {
        let mut config = Config {
            link,
            report,
            index: Index::default(),
            places: HashMap::new(),
            taken: HashMap::new(),
            claims: HashMap::new(),
        };
        config.top(top);
        let Config { mut report, mut index, claims, .. } = config;
        report.warnings.sort_by_key(|w| (w.line, w.column));
        for ((vnet, ip), claim) in claims {
            if vnet != link.vnet {
                continue;
            }
            // Those that several have are told apart by VLAN only.
            if !claim.shared {
                let (vlan, anywhere) = (claim.vlan.unwrap_or(0), claim.vlan.is_none());
                index.owners.insert(ip, Owner { mac: claim.mac, vlan, anywhere });
            }
        }
        if report.total == 0 {
            return Outcome::Good(index, report.warnings);
        }
        report.errors.sort_by_key(|e| (e.line, e.column));
        Outcome::Bad(report.errors, report.total)
    }

    fn top(&mut self, top: &Node<'a>) {
        let Some(members) = self.report.members(top, &Path::Top) else { return };
        let mut fabrics = members.iter().filter(|(key, ..)| key == networks::KEY);
        let networks = fabrics.next().map(|(_, _, node)| *node);
        if let Some((key, at, _)) = fabrics.next() {
            self.report.error(at.at, &Path::Top.member(key), "this key is there twice");
        }
        for (key, at, node) in &members {
            if key != networks::KEY {
                self.host(key, at, node, networks.is_some());
            }
        }
        if let Some(node) = networks {
            let fabrics = Path::Top.member(networks::KEY);
            let (routers, subnets) = networks::read(&node, self.link.vnet, &mut self.report);
            self.index.routes.subnets = subnets;
            for Router { name, at, mac, ip, place } in routers {
                let path = fabrics.member(&name);
                let router = Host { router: true, ..Host::default() };
                self.claim_mac(at, &path.member("routermac"), mac, place.vnet, router);
                self.claim_ip(at, &path.member("routerip"), ip, mac, place);
            }
        }
    }

    fn host(&mut self, key: &str, at: &Node<'a>, node: &Node<'a>, networks: bool) {
        let path = Path::Top.member(key);
        let Ok(mac) = key.parse::<MacAddr>() else {
            let what =
                "this key is neither an Ethernet address, as in 2:8:20:aa:0:1, nor \"fabrics\"";
            return self.report.error(at.at, &path, what);
        };
        let keys = ["ip", "port", "arp", "ndp", "dhcp-proxy", "vlan", "vid"];
        let Some(fields) = self.report.fields(node, &path, keys) else { return };
        if networks {
            for (key, value) in keys.iter().zip(&fields) {
                if value.is_none() && ["ip", "arp", "vlan"].contains(key) {
                    let what = "this key is missing; with fabrics every host needs it";
                    self.report.error(at.at, &path.member(key), what);
                }
            }
        }
        let [ip, port, arp, ndp, dhcp, vlan, vid] = fields;
        let vlan = vlan.and_then(|n| read_vlan(&mut self.report, &n, &path));
        let vnet = vid.and_then(|n| read_vid(&mut self.report, &n, &path));
        let place = Place { vnet: vnet.unwrap_or(self.link.vnet), vlan };

        let point = self.point(at, &path, ip, port);
        let dhcp_proxy =
            dhcp.and_then(|n| read_mac(&mut self.report, &n, &path.member("dhcp-proxy")));
        let host = Host { point, dhcp_proxy, router: false };
        self.claim_mac(at.at, &path, mac, place.vnet, host);
        let (mut arp_ip, mut ndp_ip) = (None, None);
        if let Some(node) = arp {
            let path = path.member("arp");
            let form = "an IPv4 or IPv6 address";
            arp_ip = self.report.parsed::<IpAddr>(&node, &path, form);
            self.guest_address(&node, &path, arp_ip, mac, place);
        }
        if let Some(node) = ndp {
            let path = path.member("ndp");
            let ip = self.report.parsed::<Ipv6Addr>(&node, &path, "an IPv6 address");
            ndp_ip = ip.map(IpAddr::V6);
            self.guest_address(&node, &path, ndp_ip, mac, place);
        }
        if let (Some(vlan), Some(point)) = (vlan, point) {
            let hosts = &mut self.index.routes.hosts;
            for ip in [arp_ip, ndp_ip].into_iter().flatten() {
                hosts.insert((place.vnet, vlan, ip.to_canonical()), routes::Place { mac, point });
            }
        }
    }

    /// Where a host is.
    fn point(
        &mut self,
        at: &Node<'a>,
        path: &Path<'_>,
        ip: Option<Node<'a>>,
        port: Option<Node<'a>>,
    ) -> Option<UnderlayAddr> {
        let port_path = path.member("port");
        let number = port.and_then(|n| self.report.number(&n, &port_path, 1..=65535));
        let ip_path = path.member("ip");
        let ip_node = ip?;
        let ip = self.report.parsed::<IpAddr>(&ip_node, &ip_path, "an IPv4 or IPv6 address")?;
        if ip.to_canonical().is_unspecified() {
            self.report.error(ip_node.at, &ip_path, "no host has this address");
        }
        if port.is_none() && self.link.needs_port {
            let what = "this key is missing; the encapsulation of this link needs it";
            self.report.error(at.at, &port_path, what);
        }
        let port = number.and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
        Some(UnderlayAddr::new(ip, port))
    }

    fn claim_mac(&mut self, at: usize, path: &Path<'_>, mac: MacAddr, vnet: VnetId, host: Host) {
        match self.places.entry(mac) {
            Entry::Occupied(first) => {
                let (line, _) = self.report.place(*first.get());
                let what =
                    format_args!("the Ethernet address {mac} is there twice, first on line {line}");
                self.report.error(at, path, what);
            }
            Entry::Vacant(place) => {
                place.insert(at);
                // Hosts of other virtual networks are reached through a router only.
                if vnet == self.link.vnet {
                    self.index.hosts.insert(mac, host);
                }
            }
        }
    }

    fn guest_address(
        &mut self,
        node: &Node<'a>,
        path: &Path<'_>,
        ip: Option<IpAddr>,
        mac: MacAddr,
        place: Place,
    ) {
        let Some(ip) = ip.map(|ip| ip.to_canonical()) else { return };
        if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
            return self.report.error(node.at, path, format_args!("no guest has the address {ip}"));
        }
        self.claim_ip(node.at, path, ip, mac, place);
    }

    /// Notes that a host has an address. In one VLAN of a virtual network only one may have it, and a
    /// host that does not say its VLAN is in all.
    fn claim_ip(&mut self, at: usize, path: &Path<'_>, ip: IpAddr, mac: MacAddr, place: Place) {
        let Place { vnet, vlan } = place;
        if let (Some(vlan), true) = (vlan, vnet == self.link.vnet) {
            self.index.in_vlan.insert((ip, vlan), mac);
        }
        let same = self.taken.insert((vnet, ip, vlan), at);
        let claim = Claim { at, mac, vlan, shared: false };
        let first = match self.claims.entry((vnet, ip)) {
            Entry::Vacant(free) => {
                free.insert(claim);
                return;
            }
            Entry::Occupied(first) => first.into_mut(),
        };
        let clash = same.or((vlan.is_none() || first.vlan.is_none()).then_some(first.at));
        match clash {
            Some(other) => {
                let (line, _) = self.report.place(other);
                let what = format_args!("another host has {ip} as well, on line {line}");
                self.report.error(at, path, what);
            }
            None => first.shared = true,
        }
    }
}

/// The VLAN of a host or fabric.
pub fn read_vlan(report: &mut Report<'_>, node: &Node<'_>, up: &Path<'_>) -> Option<u16> {
    let number = report.number(node, &up.member("vlan"), 0..=VLAN_MAX)?;
    u16::try_from(number).ok()
}

/// The virtual network of a host or fabric. It is written in a string; the original took a number for
/// nothing at all, which cannot have been meant.
pub fn read_vid(report: &mut Report<'_>, node: &Node<'_>, up: &Path<'_>) -> Option<VnetId> {
    let path = up.member("vid");
    if node.kind() == Kind::Number {
        let number = report.number(node, &path, 0..=i64::MAX)?;
        return u64::try_from(number).ok().map(VnetId);
    }
    report.parsed(node, &path, "a virtual network id").map(VnetId)
}

/// An Ethernet address.
pub fn read_mac(report: &mut Report<'_>, node: &Node<'_>, path: &Path<'_>) -> Option<MacAddr> {
    report.parsed(node, path, "an Ethernet address")
}
