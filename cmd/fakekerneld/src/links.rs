// SPDX-License-Identifier: CDDL-1.0
//! Links by name, and their removal at the end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fakekernel::host::{Cred, SelfMem};
use fakekernel::{dev, net};
use fkadm::proto::Link;
use libdladm::dlmgmt::Table;
use overlay_abi::ids::{LinkId, MacAddr};
use overlay_abi::{dld, vnic};
use slog::Logger;
use zerocopy::IntoBytes;

/// Locks even if a thread died with the lock.
pub fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a link, or its id if it has none.
pub fn name(table: &Table, linkid: u32) -> String {
    table.get(LinkId(linkid)).map_or_else(|| linkid.to_string(), |l| l.name.clone())
}

/// The id of the link an operator means by `given`: a name, or an id in decimal. The error is a
/// sentence.
pub fn find(table: &Table, given: &str) -> Result<u32, String> {
    if let Ok(id) = given.parse() {
        return Ok(id);
    }
    if let Some(link) = table.by_name(given) {
        return Ok(link.id.0);
    }
    let names: Vec<_> = table.iter().map(|l| l.name.as_str()).collect();
    let known = if names.is_empty() {
        "there is no link".into()
    } else {
        format!("links: {}", names.join(", "))
    };
    Err(format!("no link is named {given:?} ({known})"))
}

/// All links as fkadm shows them.
pub fn list(table: &Table) -> Vec<Link> {
    let show = |l: net::LinkInfo| Link {
        linkid: l.linkid,
        name: table.get(LinkId(l.linkid)).map(|l| l.name.clone()),
        class: l.class,
        mac: MacAddr(l.mac).to_string(),
        mtu: l.mtu,
        state: match l.state {
            0 => "down",
            1 => "up",
            _ => "unknown",
        }
        .into(),
        over: l.over.map(|id| name(table, id)),
    };
    net::links().into_iter().map(show).collect()
}

/// Takes all links away, VNICs before what they lie over, as an administrator would. What refuses
/// to go is said in the log.
pub fn remove_all(log: &Logger) {
    let links = net::links();
    if links.is_empty() {
        return;
    }
    let device = match dev::open("/dev/dld", devctl::OpenFlags::RDWR.0 as i32, &Cred::KERNEL) {
        Ok(device) => device,
        Err(e) => return slog::error!(log, "links are left: /dev/dld: {e}"),
    };
    let (upper, lower): (Vec<_>, Vec<_>) = links.iter().partition(|l| l.over.is_some());
    for l in upper {
        let mut arg = vnic::vnic_ioc_delete_t { vd_vnic_id: l.linkid };
        delete(&device, vnic::VNIC_IOC_DELETE, arg.as_mut_bytes(), l.linkid, log);
    }
    for l in lower {
        let mut arg = dld::overlay_ioc_delete_t { oid_linkid: l.linkid };
        delete(&device, dld::OVERLAY_IOC_DELETE, arg.as_mut_bytes(), l.linkid, log);
    }
}

fn delete(device: &dev::OpenDev, cmd: u32, arg: &mut [u8], linkid: u32, log: &Logger) {
    let addr = arg.as_mut_ptr().expose_provenance() as u64;
    if let Err(e) = device.ioctl(cmd as i32, addr, dev::Model::Lp64, &SelfMem) {
        slog::error!(log, "link {linkid} does not go: {e}");
    }
}
