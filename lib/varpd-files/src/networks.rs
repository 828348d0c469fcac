// SPDX-License-Identifier: CDDL-1.0
//! Fabrics: subnets, their routers, and which of them reach one another (spec/varpd.md 7.4).
//!
//! Everything is checked. What version 1 of the interface with varpd can use is the routers' addresses,
//! so that a guest finds its router; what it sends there is dropped until routes can be answered.
use crate::config::{Place, read_mac, read_vid, read_vlan};
use crate::json::Node;
use crate::report::{Path, Report};
use overlay_abi::ids::{MacAddr, VnetId, mapped};
use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;

/// The top-level key.
pub const KEY: &str = "fabrics";
/// The one member that is no subnet.
const GROUPS: &str = "attached-fabrics";
/// Longest name of a subnet or group in bytes.
const NAME_MAX: usize = 63;

/// The router of a subnet.
#[derive(Debug)]
pub struct Router {
    /// Name of the subnet.
    pub name: String,
    /// Where it is written, in bytes.
    pub at: usize,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its IP address.
    pub ip: IpAddr,
    /// Its network.
    pub place: Place,
}

/// A range of IPv6 addresses; those of IPv4 are v4-mapped, and 96 bits longer than written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    first: u128,
    last: u128,
}

impl Prefix {
    fn holds(&self, ip: IpAddr) -> bool {
        (self.first..=self.last).contains(&u128::from_be_bytes(mapped(ip)))
    }
}

/// Without a length it is one address.
impl FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Prefix, ()> {
        let (ip, len) = match text.split_once('/') {
            Some((ip, len)) => (ip, Some(len)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(drop)?;
        let bits: u32 = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => len.parse().map_err(drop)?,
            Some(_) => return Err(()),
            None => bits,
        };
        let host_bits = bits.checked_sub(len).ok_or(())?;
        // All bits of ::/0.
        let hosts = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let ip = u128::from_be_bytes(mapped(ip));
        Ok(Prefix { first: ip & !hosts, last: ip | hosts })
    }
}

/// A subnet, for the comparison with others.
struct Subnet {
    name: String,
    at: usize,
    /// Data centre, virtual network and VLAN; in different ones the same addresses may be used.
    place: (Option<i64>, VnetId, Option<u16>),
    prefix: Prefix,
}

/// Reads the member `fabrics`. `vnet` is that of the link.
pub fn read<'a>(node: &Node<'a>, vnet: VnetId, report: &mut Report<'a>) -> Vec<Router> {
    let top = Path::Top.member(KEY);
    let Some(members) = report.members(node, &top) else { return Vec::new() };
    let (mut routers, mut subnets, mut names) = (Vec::new(), Vec::new(), HashMap::new());
    let mut groups = Vec::new();
    for (key, at, node) in &members {
        let path = top.member(key);
        if let Some(first) = names.insert(key.as_str(), at.at) {
            let (line, _) = report.place(first);
            report.error(
                at.at,
                &path,
                format_args!("this name is there twice, first on line {line}"),
            );
        } else if key == GROUPS {
            // In whatever order they come, they name subnets.
            groups.push(node);
        } else if name_fits(key, at, &path, report)
            && let Some((router, subnet)) = subnet(key, at, node, &path, vnet, report)
        {
            routers.push(router);
            subnets.push(subnet);
        }
    }
    overlaps(&mut subnets, &top, report);
    names.remove(GROUPS);
    for node in groups {
        attached(node, &top.member(GROUPS), &names, report);
    }
    routers
}

fn name_fits(name: &str, at: &Node<'_>, path: &Path<'_>, report: &mut Report<'_>) -> bool {
    let fits = (1..=NAME_MAX).contains(&name.len());
    if !fits {
        report.error(at.at, path, format_args!("a name has 1 to {NAME_MAX} bytes"));
    }
    fits
}

fn subnet<'a>(
    name: &str,
    at: &Node<'a>,
    node: &Node<'a>,
    path: &Path<'_>,
    link: VnetId,
    report: &mut Report<'a>,
) -> Option<(Router, Subnet)> {
    let keys = ["prefix", "vlan", "routerip", "routermac", "dcid", "vid"];
    let fields = report.fields(node, path, keys)?;
    for (key, value) in keys.iter().zip(&fields).take(4) {
        if value.is_none() {
            report.error(at.at, &path.member(key), "this key is missing; every fabric needs it");
        }
    }
    let [prefix, vlan, ip, mac, dcid, vid] = fields;
    let ip_path = path.member("routerip");
    let form = "an address with prefix length, as in 10.0.0.0/24";
    let prefix = prefix.and_then(|n| report.parsed::<Prefix>(&n, &path.member("prefix"), form));
    let vlan = vlan.and_then(|n| read_vlan(report, &n, path));
    let dcid = dcid.map(|n| report.number(&n, &path.member("dcid"), 0..=u32::MAX.into()));
    let vnet = vid.map(|n| read_vid(report, &n, path));
    let ip_at = ip;
    let ip = ip.and_then(|n| report.parsed::<IpAddr>(&n, &ip_path, "an IPv4 or IPv6 address"));
    let mac = mac.and_then(|n| read_mac(report, &n, &path.member("routermac")));
    let (prefix, ip) = (prefix?, ip?.to_canonical());
    if !prefix.holds(ip) {
        report.error(ip_at?.at, &ip_path, format_args!("{ip} is not in the prefix of this fabric"));
    }
    let place = Place { vnet: vnet.unwrap_or(Some(link))?, vlan: Some(vlan?) };
    let subnet = Subnet {
        name: name.to_owned(),
        at: at.at,
        place: (dcid.map_or(Some(None), |n| n.map(Some))?, place.vnet, place.vlan),
        prefix,
    };
    Some((Router { name: name.to_owned(), at: at.at, mac: mac?, ip, place }, subnet))
}

/// An address that lies in two subnets of one network has no route.
fn overlaps(subnets: &mut [Subnet], top: &Path<'_>, report: &mut Report<'_>) {
    subnets.sort_by_key(|s| (s.place, s.prefix, s.at));
    let mut widest: Option<&Subnet> = None;
    for s in &*subnets {
        match widest {
            Some(w) if w.place == s.place && w.prefix.last >= s.prefix.first => {
                let what =
                    format_args!("its prefix overlaps that of {}", crate::report::short(&w.name));
                report.error(s.at, &top.member(&s.name).member("prefix"), what);
                if s.prefix.last > w.prefix.last {
                    widest = Some(s);
                }
            }
            _ => widest = Some(s),
        }
    }
}

/// Groups of subnets that reach one another.
fn attached<'a>(
    node: &Node<'a>,
    path: &Path<'_>,
    subnets: &HashMap<&str, usize>,
    report: &mut Report<'a>,
) {
    let Some(members) = report.members(node, path) else { return };
    let mut seen = HashMap::new();
    let mut attached = HashMap::new();
    for (group, at, node) in &members {
        let path = path.member(group);
        name_fits(group, at, &path, report);
        if seen.insert(group, ()).is_some() {
            report.error(at.at, &path, "this name is there twice");
        }
        for item in report.items(node, &path).unwrap_or_default() {
            let Some(name) = report.string(&item, &path) else { continue };
            let shown = crate::report::short(&name);
            if !subnets.contains_key(name.as_str()) {
                report.error(item.at, &path, format_args!("there is no fabric {shown}"));
            } else if let Some(first) = attached.insert(name, group.as_str()) {
                let what = format_args!(
                    "fabric {shown} is in the group {} already",
                    crate::report::short(first)
                );
                report.error(item.at, &path, what);
            }
        }
    }
}
