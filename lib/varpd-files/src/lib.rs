// SPDX-License-Identifier: CDDL-1.0
//! The files lookup plugin: a network's hosts in a JSON file (spec/varpd.md 7.2, 7.4).
//!
//! ```text
//!                      source          config, networks, report, json
//!   files/config ----- read ---> bytes ------- check ------> Index ----+--> lookup: where frames go
//!        ^                                       |                     |--> route: what becomes of packets for routers
//!        |                                       |                     |--> arp: who has an address
//!        | set again                             v                     +--> dhcp: who gets broadcasts
//!     re-read                        errors: line, column, key
//! ```
//!
//! A file is checked whole. One that is wrong anywhere is not used: an instance does not start on it, and
//! one that runs keeps what it had.
//!
//! # Vocabulary
//!
//! * *index*: what a file says, in the form in which it is asked for. It never changes; a new one takes
//!   its place.
//! * *re-read*: setting `files/config` of a started instance, to another path or the same.
//! * *networks form*: a file with fabrics, which are subnets with routers. What is for a router goes to
//!   hosts of subnets that are attached to the sender's, see `routes`.
//!
//! # A re-read
//!
//! The kernel remembers answers. So after a re-read it is told to forget every host that is elsewhere or
//! gone, and the next frame asks again. For that to be all, no answer out of the old index may come after:
//! lookups hold the index until they have answered, and the re-read waits for them, between the change and
//! the telling. Guests remember, too: those of this link are told of an IPv4 address that another host has
//! now. When routes may have changed all of this link are forgotten: the same order makes sure that none
//! of the old ones is answered afterwards.
//!
//! # Locks, outer first
//!
//! 1. `Files::state`: path, and whether it is started. Held over a whole re-read; lookups do not take it.
//! 2. `Files::index`: for as long as it takes to copy or replace a pointer.
//!
//! # Invariants
//!
//! * `state.path` is the file that the index was read from, while started.
//! * A query is answered, or handed to a proxy, before `lookup` returns.

mod config;
mod index;
mod json;
mod networks;
mod report;
mod routes;
mod source;

pub use config::{Link, Outcome, parse};
pub use index::{Changes, Host, Index, Owner};
pub use report::{Problem, Report};
pub use routes::{Place, Prefix, Routes, Subnet};

use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::props;
use overlay_abi::target::{
    OVERLAY_PLUGIN_D_INVALID, OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT, overlay_targ_lookup_t,
    overlay_target_point_t,
};
use std::ffi::CStr;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use varpd_plugin::{
    ArpReply, DhcpReply, Dynamic, NvList, Plugin, Prop, Provider, Query, Route, RouteQuery, Routed,
};

const CONFIG: &CStr = c"files/config";
/// Counters that the original saved, always 0, and does not do without.
const COUNTERS: [&CStr; 2] = [c"files/vaf_nmisses", c"files/vaf_narp"];
/// Longest path in bytes.
const PATH_MAX: usize = 255;

const ETHERTYPE_IP: u32 = 0x0800;
const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV6: u32 = 0x86dd;

/// An instance.
#[derive(Debug)]
pub struct Files {
    provider: Provider,
    dest: u32,
    state: Mutex<State>,
    index: RwLock<Arc<Index>>,
}

#[derive(Debug, Default)]
struct State {
    path: Option<String>,
    started: bool,
    /// The link is degraded because of us.
    degraded: bool,
}

varpd_plugin::plugin!(routed: Files);

/// Whether destinations of these parts can be given: IP, PORT or both.
fn serves(dest: u32) -> bool {
    dest != OVERLAY_PLUGIN_D_INVALID && dest & !(OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT) == 0
}

/// A path that can be a configuration's. `EINVAL` otherwise.
fn check_path(path: &str) -> Result<(), Errno> {
    let good = path.starts_with('/') && path.len() <= PATH_MAX && !path.contains('\0');
    good.then_some(()).ok_or(Errno::EINVAL)
}

impl Files {
    fn new(provider: Provider, dest: u32, path: Option<String>) -> Files {
        let state = State { path, ..State::default() };
        Files { provider, dest, state: Mutex::new(state), index: RwLock::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of now. Whoever answers from it holds it until that is done.
    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, new: Index) -> Arc<Index> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut index, Arc::new(new))
    }

    /// Reads a file; if it is no good the link is degraded, until [`Files::in_use`].
    fn load(&self, state: &mut State, path: &str) -> Result<Index, Errno> {
        let needs_port = self.dest & OVERLAY_PLUGIN_D_PORT != 0;
        let loaded = source::load(path, Link { vnet: self.provider.vnetid(), needs_port });
        loaded.map_err(|failure| {
            self.provider.degrade(&format!("files: {failure}"));
            state.degraded = true;
            failure.errno
        })
    }

    /// A good file is in use.
    fn in_use(&self, state: &mut State) {
        if std::mem::take(&mut state.degraded) {
            self.provider.restore();
        }
    }

    /// Goes over to a new index, and makes those forget who went by the old one.
    fn change_to(&self, new: Index) {
        let changes = self.index().changes(&new);
        let sources: Vec<_> = self.index().routes.sources(self.provider.vnetid()).collect();
        let old = self.replace(new);
        // Each is a lookup that is being answered, which takes no longer than an ioctl.
        while Arc::strong_count(&old) > 1 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for mac in changes.moved {
            self.provider.inject_varp(mac.0, None);
        }
        if changes.routes {
            for (vlan, prefix) in sources {
                self.provider.route_flush(vlan, prefix.parts(), ([0; 16], 0));
            }
        }
        for (ip, Owner { mac, vlan, .. }) in changes.addresses {
            self.provider.inject_arp(vlan, mac.0, ip, MacAddr::BROADCAST.0);
        }
    }
}

impl Plugin for Files {
    const NAME: &'static CStr = c"files";

    fn create(provider: Provider, dest: u32) -> Result<Self, Errno> {
        if !serves(dest) {
            return Err(Errno::ENOTSUP);
        }
        Ok(Files::new(provider, dest, None))
    }

    fn start(&self) -> Result<(), Errno> {
        let mut state = self.state();
        let path = state.path.clone().ok_or(Errno::EAGAIN)?;
        let index = self.load(&mut state, &path)?;
        self.replace(index);
        self.in_use(&mut state);
        state.started = true;
        Ok(())
    }

    fn stop(&self) {
        let mut state = self.state();
        state.started = false;
        self.replace(Index::default());
    }

    fn nprops(&self) -> u32 {
        1
    }

    fn propinfo(&self, id: u32, prop: &mut Prop<'_>) -> Result<(), Errno> {
        if id != 0 {
            return Err(Errno::EINVAL);
        }
        prop.describe(CONFIG, props::OVERLAY_PROP_T_STRING, props::OVERLAY_PROP_PERM_RRW);
        Ok(())
    }

    fn getprop(&self, name: &str, buf: &mut [u8]) -> Result<u32, Errno> {
        if name.as_bytes() != CONFIG.to_bytes() {
            return Err(Errno::EINVAL);
        }
        let path = self.state().path.clone();
        path.map_or(Ok(0), |path| props::put(buf, &[path.as_bytes(), b"\0"].concat()))
    }

    /// While started, the file is read at once; the old path and contents stay if it is no good.
    fn setprop(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        if name.as_bytes() != CONFIG.to_bytes() {
            return Err(Errno::EINVAL);
        }
        let path = value.strip_suffix(b"\0").and_then(|v| std::str::from_utf8(v).ok());
        let path = path.ok_or(Errno::EINVAL)?;
        check_path(path)?;
        let mut state = self.state();
        if state.started {
            let index = self.load(&mut state, path)?;
            self.change_to(index);
            self.in_use(&mut state);
        }
        state.path = Some(path.to_owned());
        Ok(())
    }

    fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno> {
        let Some(path) = self.state().path.clone() else { return Ok(()) };
        list.add_str(CONFIG, &path)?;
        COUNTERS.iter().try_for_each(|name| list.add_u64(name, 0))
    }

    /// What an instance saved that had no path lacks the counters, which nobody needs.
    fn restore(list: &NvList<'_>, provider: Provider, dest: u32) -> Result<Self, Errno> {
        if !serves(dest) {
            return Err(Errno::EINVAL);
        }
        let path = list.str(CONFIG)?;
        path.map_or(Ok(()), check_path)?;
        Ok(Files::new(provider, dest, path.map(str::to_owned)))
    }
}

impl Dynamic for Files {
    fn lookup(&self, query: Query) {
        let request = query.request();
        let dst = MacAddr(request.otl_dstaddr);
        match request.otl_sap {
            ETHERTYPE_ARP => return query.proxy_arp(),
            ETHERTYPE_IPV6 if dst.0.starts_with(&[0x33, 0x33]) => return query.proxy_ndp(),
            ETHERTYPE_IP if dst == MacAddr::BROADCAST => {
                if self.index().dhcp_proxy(MacAddr(request.otl_srcaddr)).is_some() {
                    query.proxy_dhcp();
                }
                return;
            }
            _ => {}
        }
        // Held until the answer is given.
        let index = self.index();
        if index.is_router(dst) {
            query.reply_router();
        } else if let Some(point) = index.point(dst) {
            query.reply(&overlay_target_point_t::from(point));
        }
    }

    fn arp(&self, reply: ArpReply, addr: IpAddr) {
        if let Some(mac) = self.index().owner(addr) {
            reply.reply(mac.0);
        }
    }

    fn dhcp(&self, reply: DhcpReply, request: &overlay_targ_lookup_t) {
        if let Some(mac) = self.index().dhcp_proxy(MacAddr(request.otl_srcaddr)) {
            reply.reply(mac.0);
        }
    }
}

impl Routed for Files {
    fn route(&self, query: RouteQuery) {
        // Held until the answer is given.
        let index = self.index();
        let (link, vlan) = ((query.vnet(), self.provider.dcid()), query.vlan());
        if let Some((to, place)) = index.routes.find(link, vlan, query.src(), query.dst()) {
            query.reply(&Route {
                vnet: to.vnet,
                vlan: to.vlan,
                srcmac: to.router,
                dcid: to.dcid.unwrap_or(0),
                dstmac: place.mac,
                to: place.point,
            });
        }
    }

    fn arp_in(&self, reply: ArpReply, addr: IpAddr, vlan: u16) {
        if let Some(mac) = self.index().owner_in(addr, vlan) {
            reply.reply(mac.0);
        }
    }
}
