// SPDX-License-Identifier: CDDL-1.0
//! Fabrics: subnets, their routers, and which of them reach one another (spec/varpd.md 7.4).
//!
//! Everything is checked. A varpd that has only version 1 of the interface with plugins can use the
//! routers' addresses, so that a guest finds its router, and drops what it sends there.
use crate::config::{Place, read_mac, read_vid, read_vlan};
use crate::json::Node;
use crate::report::{Path, Report};
use crate::routes::{Prefix, Subnet};
use overlay_abi::ids::{MacAddr, VnetId};
use std::collections::HashMap;
use std::net::IpAddr;

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

/// A subnet with what errors need to name it.
struct Named {
    name: String,
    at: usize,
    subnet: Subnet,
}

impl Named {
    /// Data centre, virtual network and VLAN; in different ones the same addresses may be used.
    fn place(&self) -> (Option<u32>, VnetId, u16) {
        (self.subnet.dcid, self.subnet.vnet, self.subnet.vlan)
    }
}

/// Reads the member `fabrics`. `vnet` is that of the link.
pub fn read<'a>(
    node: &Node<'a>,
    vnet: VnetId,
    report: &mut Report<'a>,
) -> (Vec<Router>, Vec<Subnet>) {
    let top = Path::Top.member(KEY);
    let Some(members) = report.members(node, &top) else { return (Vec::new(), Vec::new()) };
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
    let mut attached = HashMap::new();
    for node in groups {
        attach(node, &top.member(GROUPS), &names, &mut attached, report);
    }
    let grouped = |Named { name, mut subnet, .. }| {
        subnet.group = attached.get(&name).map(|(number, _)| *number);
        subnet
    };
    (routers, subnets.into_iter().map(grouped).collect())
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
) -> Option<(Router, Named)> {
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
    let (vnet, vlan, router) = (vnet.unwrap_or(Some(link))?, vlan?, mac?);
    let dcid = dcid.map_or(Some(None), |n| n.map(|n| u32::try_from(n).ok().filter(|n| *n != 0)))?;
    let subnet = Subnet { dcid, vnet, vlan, prefix, router, group: None };
    let (name, at) = (name.to_owned(), at.at);
    let place = Place { vnet, vlan: Some(vlan) };
    Some((Router { name: name.clone(), at, mac: router, ip, place }, Named { name, at, subnet }))
}

/// An address that lies in two subnets of one network has no route.
fn overlaps(subnets: &mut [Named], top: &Path<'_>, report: &mut Report<'_>) {
    subnets.sort_by_key(|s| (s.place(), s.subnet.prefix, s.at));
    let mut widest: Option<&Named> = None;
    for s in &*subnets {
        let prefix = s.subnet.prefix;
        match widest {
            Some(w) if w.place() == s.place() && w.subnet.prefix.last >= prefix.first => {
                let what =
                    format_args!("its prefix overlaps that of {}", crate::report::short(&w.name));
                report.error(s.at, &top.member(&s.name).member("prefix"), what);
                if prefix.last > w.subnet.prefix.last {
                    widest = Some(s);
                }
            }
            _ => widest = Some(s),
        }
    }
}

/// Groups of subnets that reach one another.
fn attach<'a>(
    node: &Node<'a>,
    path: &Path<'_>,
    subnets: &HashMap<&str, usize>,
    attached: &mut HashMap<String, (usize, String)>,
    report: &mut Report<'a>,
) {
    let Some(members) = report.members(node, path) else { return };
    let mut seen = HashMap::new();
    for (number, (group, at, node)) in members.iter().enumerate() {
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
            } else if let Some((_, first)) = attached.insert(name, (number, group.clone())) {
                let what = format_args!(
                    "fabric {shown} is in the group {} already",
                    crate::report::short(&first)
                );
                report.error(item.at, &path, what);
            }
        }
    }
}
