// SPDX-License-Identifier: CDDL-1.0
//! What version 2 adds: data centers, routers, and the routes that the kernel knows.
//!
//! All calls here give `ENOSYS` where varpd is of version 1 and `ENOTSUP` where only its kernel is;
//! the calls of version 1 go on in either case.

use crate::{CacheEntry, Client, HEADER, WALK, get, items, put};
use overlay_abi::door::v2::*;
use overlay_abi::door::{VARPD_CLIENT_INVALID, varpd_client_arg_t};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr, VarpdId, VnetId, unmapped};
use overlay_abi::target::v2::{
    overlay_targ_cache_entry_t, overlay_targ_route_entry_t, overlay_target_mac_t,
};
use std::fmt;
use std::net::IpAddr;
use zerocopy::FromZeros;

/// A guest's address, unique in its data center.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guest {
    /// The data center; 0 is the link's own when asked for. What is told has the number.
    pub dcid: u32,
    /// The Ethernet address.
    pub mac: MacAddr,
}

/// `2:8:20:0:0:1`, or `7/2:8:20:0:0:1` in data center 7.
impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dcid {
            0 => self.mac.fmt(f),
            dcid => write!(f, "{dcid}/{}", self.mac),
        }
    }
}

impl From<&overlay_target_mac_t> for Guest {
    fn from(guest: &overlay_target_mac_t) -> Guest {
        Guest { dcid: guest.otm_dcid, mac: guest.mac() }
    }
}

/// A route that the kernel knows: what becomes of packets between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// VLAN id they come with, 0 for untagged.
    pub vlan: u16,
    /// Their source.
    pub src: IpAddr,
    /// Their destination.
    pub dst: IpAddr,
    /// The virtual network they go to.
    pub vnet: VnetId,
    /// Their new VLAN id, 0 for untagged.
    pub new_vlan: u16,
    /// Their new source address: the router's on that side.
    pub router: MacAddr,
    /// Whom they are for.
    pub guest: Guest,
    /// Where that guest lives; `None` if that has to be asked again.
    pub at: Option<UnderlayAddr>,
}

impl From<&overlay_targ_route_entry_t> for Route {
    fn from(r: &overlay_targ_route_entry_t) -> Route {
        let at = Some(r.otre_dest).filter(|point| !point.is_router());
        Route {
            vlan: r.otre_vlan,
            src: unmapped(r.otre_addr.otl3_srcip),
            dst: unmapped(r.otre_addr.otl3_dstip),
            vnet: VnetId(r.otre_route.otr_vnet),
            new_vlan: r.otre_route.otr_vlan,
            router: MacAddr(r.otre_route.otr_srcmac),
            guest: (&r.otre_mac).into(),
            at: at.map(|point| point.underlay()),
        }
    }
}

impl Client {
    /// As [`Client::cache_delete`], of any data center.
    pub fn guest_delete(&self, id: VarpdId, guest: Guest) -> Result<(), Errno> {
        self.guest(VARPD_CLIENT_CACHE_DELETE_V2, id, guest, None).map(drop)
    }

    /// As [`Client::cache_get`], of any data center.
    pub fn guest_get(&self, id: VarpdId, guest: Guest) -> Result<CacheEntry, Errno> {
        self.guest(VARPD_CLIENT_CACHE_GET_V2, id, guest, None)
    }

    /// As [`Client::cache_set`], of any data center; the entry may be a router.
    pub fn guest_set(&self, id: VarpdId, guest: Guest, entry: &CacheEntry) -> Result<(), Errno> {
        self.guest(VARPD_CLIENT_CACHE_SET_V2, id, guest, Some(entry)).map(drop)
    }

    fn guest(
        &self,
        command: u32,
        id: VarpdId,
        guest: Guest,
        entry: Option<&CacheEntry>,
    ) -> Result<CacheEntry, Errno> {
        let mut arg = varpd_client_target_cache_arg_t::new_zeroed();
        arg.vtca_id = id.0;
        arg.vtca_dcid = guest.dcid;
        arg.vtca_key = guest.mac.0;
        if let Some(entry) = entry {
            arg.vtca_entry = entry.into();
        }
        let mut message = vec![0; size_of::<varpd_client_arg_t>()];
        put(&mut message, command, &arg);
        let arg: varpd_client_target_cache_arg_t = get(&self.exchange_v2(&message)?)?;
        Ok((&arg.vtca_entry).into())
    }

    /// Calls `each` for every entry of all data centers and every router, until it returns false. A
    /// point-to-point link has one entry, with a zero address.
    pub fn guest_walk(
        &self,
        id: VarpdId,
        mut each: impl FnMut(Guest, &CacheEntry) -> bool,
    ) -> Result<(), Errno> {
        let mut walk = varpd_client_target_walk_arg_t::new_zeroed();
        loop {
            (walk.vtcw_id, walk.vtcw_count) = (id.0, WALK as u64);
            let mut message = vec![0; walk_len(WALK)];
            put(&mut message, VARPD_CLIENT_CACHE_WALK_V2, &walk);
            let reply = self.exchange_v2(&message)?;
            walk = get(&reply)?;
            let entries: Vec<overlay_targ_cache_entry_t> =
                items(&reply, walk_len(0), walk.vtcw_count)?;
            if entries.is_empty() {
                return Ok(());
            }
            for e in &entries {
                let to = &e.otce_dest;
                let entry = CacheEntry::new(e.otce_flags, to.otp_mac, to.otp_ip, to.otp_port);
                if !each((&e.otce_mac).into(), &entry) {
                    return Ok(());
                }
            }
        }
    }

    /// Calls `each` for every route, in order of VLAN id, source and destination, until it returns
    /// false. A point-to-point link has none.
    pub fn route_walk(
        &self,
        id: VarpdId,
        mut each: impl FnMut(&Route) -> bool,
    ) -> Result<(), Errno> {
        let mut walk = varpd_client_route_walk_arg_t::new_zeroed();
        loop {
            (walk.vrw_id, walk.vrw_count) = (id.0, WALK as u64);
            let mut message = vec![0; route_walk_len(WALK)];
            put(&mut message, VARPD_CLIENT_ROUTE_WALK, &walk);
            let reply = self.exchange_v2(&message)?;
            walk = get(&reply)?;
            let routes: Vec<overlay_targ_route_entry_t> =
                items(&reply, route_walk_len(0), walk.vrw_count)?;
            if routes.is_empty() {
                return Ok(());
            }
            for route in &routes {
                if !each(&route.into()) {
                    return Ok(());
                }
            }
        }
    }

    /// As `exchange`; `ENOSYS` where varpd has no such command.
    fn exchange_v2(&self, message: &[u8]) -> Result<Vec<u8>, Errno> {
        let (reply, header) = self.reply(message)?;
        // What it takes for no message at all, with these lengths, is the command.
        let unknown = reply.len() == HEADER
            && header.vce_command == VARPD_CLIENT_INVALID
            && header.vce_errno == Errno::EINVAL.0 as u32;
        if unknown {
            return Err(Errno::ENOSYS);
        }
        Errno::check(header.vce_errno as i32)?;
        Ok(reply)
    }
}
