// SPDX-License-Identifier: CDDL-1.0
//! misc/dls: the registry of link ids, and what is opened through it.

use super::errno::*;
use super::mac::{self, Mac};
use super::port::{ClientCore, Port};
use crate::check::{Kind, violation};
use illumos_sys_hdrs::{boolean_t, datalink_id_t, mac_handle_t, zoneid_t};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a link id names.
#[derive(Clone)]
pub enum Datalink {
    /// A provider's MAC.
    Net(Arc<Mac>),
    /// A VNIC.
    Vnic(Arc<Port>),
}

static LINKS: RwLock<BTreeMap<u32, Datalink>> = RwLock::new(BTreeMap::new());

/// A link as `links()` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Datalink id.
    pub linkid: u32,
    /// Driver of the provider ("overlay"), or "vnic".
    pub class: String,
    /// Unicast address; zero if it has none.
    pub mac: [u8; 6],
    /// Largest payload of a frame in bytes.
    pub mtu: u32,
    /// -1 unknown, 0 down, 1 up.
    pub state: i32,
    /// The link a VNIC is over.
    pub over: Option<u32>,
    /// VLAN of a VNIC, 0 for none.
    pub vid: u16,
    /// Frames and bytes received and sent, as the link's user sees it: only for VNICs.
    pub traffic: Traffic,
}

/// Counters of a VNIC since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent; one that is to be segmented counts once.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received but lost because nobody listens or memory was short.
    pub rx_drops: u64,
    /// Refused on transmit because they are malformed, too long or wrongly tagged.
    pub tx_drops: u64,
}

impl Traffic {
    fn of(p: &Port) -> Traffic {
        let [rx_frames, rx_bytes, tx_frames, tx_bytes, rx_drops, tx_drops] = p.stats.values();
        Traffic { rx_frames, rx_bytes, tx_frames, tx_bytes, rx_drops, tx_drops }
    }
}

/// All links, by id.
pub fn links() -> Vec<LinkInfo> {
    LINKS
        .read()
        .iter()
        .map(|(&linkid, l)| match l {
            Datalink::Net(m) => LinkInfo {
                linkid,
                class: m.driver.clone(),
                mac: m.src_addr,
                mtu: m.max_sdu(),
                state: m.link_state(),
                over: None,
                vid: 0,
                traffic: Traffic::default(),
            },
            Datalink::Vnic(p) => LinkInfo {
                linkid,
                class: "vnic".into(),
                mac: p.addr.unwrap_or_default(),
                mtu: p.mtu(),
                state: p.mac.link_state(),
                over: Some(p.mac.linkid.load(Ordering::Relaxed)),
                vid: p.vid,
                traffic: Traffic::of(p),
            },
        })
        .collect()
}

/// The link with an id.
pub fn find(linkid: u32) -> Option<Datalink> {
    LINKS.read().get(&linkid).cloned()
}

/// Enters a VNIC whose port is attached. EEXIST when the id is taken.
pub fn insert_vnic(port: &Arc<Port>) -> Result<(), c_int> {
    let mut links = LINKS.write();
    if links.contains_key(&port.linkid) {
        return Err(EEXIST);
    }
    links.insert(port.linkid, Datalink::Vnic(port.clone()));
    port.show_kstat(true);
    Ok(())
}

/// Takes a VNIC out that nobody has open. ENOENT: no VNIC of that id. EBUSY: a client has it open.
pub fn remove_vnic(linkid: u32) -> Result<Arc<Port>, c_int> {
    let mut links = LINKS.write();
    let Some(Datalink::Vnic(port)) = links.get(&linkid) else { return Err(ENOENT) };
    if port.busy() {
        return Err(EBUSY);
    }
    let port = port.clone();
    links.remove(&linkid);
    port.show_kstat(false);
    Ok(port)
}

/// Opens a link for a client. Errors as [`super::client::Client::open`].
pub fn open(linkid: u32, core: &Arc<ClientCore>) -> Result<Arc<Port>, c_int> {
    let mac = {
        let links = LINKS.read();
        match links.get(&linkid) {
            Some(Datalink::Vnic(p)) => {
                // Under the lock, so that remove_vnic sees it.
                p.open(core);
                return Ok(p.clone());
            }
            Some(Datalink::Net(m)) => m.clone(),
            None => return Err(ENOENT),
        }
    };
    let port = Port::new(mac, linkid, None, 0, -1);
    core.all_groups.store(true, Ordering::SeqCst);
    port.open(core);
    port.mac.attach(&port)?;
    Ok(port)
}

/// Undoes [`open`].
pub fn close(port: &Arc<Port>, core: &Arc<ClientCore>) {
    port.close(core);
    if port.addr.is_none() {
        port.mac.detach(port);
    }
}

/// Forgets everything, at shutdown.
pub fn reset() {
    let links = std::mem::take(&mut *LINKS.write());
    for (id, l) in links {
        match l {
            Datalink::Net(m) => {
                violation(Kind::Leak, format!("link {id} ({}) outlives its module", m.name));
            }
            Datalink::Vnic(p) => {
                p.show_kstat(false);
                p.mac.detach(&p);
            }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dls_devnet_create(
    mh: mac_handle_t,
    linkid: datalink_id_t,
    zone: zoneid_t,
) -> c_int {
    let Some(mac) = mac::hold(mh) else { return EINVAL };
    let _in = mac.perim.guard();
    if linkid == 0 || zone != illumos_sys_hdrs::GLOBAL_ZONEID {
        return EINVAL;
    }
    let mut links = LINKS.write();
    if links.contains_key(&linkid) || mac.linkid.load(Ordering::SeqCst) != 0 {
        return EEXIST;
    }
    mac.linkid.store(linkid, Ordering::SeqCst);
    links.insert(linkid, Datalink::Net(mac.clone()));
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dls_devnet_destroy(
    mh: mac_handle_t,
    linkid: *mut datalink_id_t,
    _wait: boolean_t,
) -> c_int {
    // Ioctls hold a link only inside the perimeter: once we are in there is nothing to wait for.
    let Some(mac) = mac::hold(mh) else { return EINVAL };
    let _in = mac.perim.guard();
    let id = mac.linkid.load(Ordering::SeqCst);
    if id == 0 {
        return ENOENT;
    }
    // SAFETY: null or the caller's place.
    if let Some(to) = unsafe { linkid.as_mut() } {
        *to = id;
    }
    if !mac.ports().is_empty() {
        return EBUSY;
    }
    LINKS.write().remove(&id);
    mac.linkid.store(0, Ordering::SeqCst);
    0
}

crate::symbols! { SYMBOLS "misc/dls": dls_devnet_create, dls_devnet_destroy, }
