// SPDX-License-Identifier: CDDL-1.0
//! The target cache as version 1 knows it: one destination for one Ethernet address.

use crate::{Client, WALK, get, items, put};
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr, VarpdId};
use overlay_abi::target::v2::OVERLAY_TARGET_CACHE_ROUTER;
use overlay_abi::target::{
    OVERLAY_TARGET_CACHE_DROP, overlay_targ_cache_entry_t, overlay_target_point_t,
};
use zerocopy::FromZeros;

/// An entry of the target cache: where frames for one guest address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheEntry {
    /// To another host.
    To {
        /// Ethernet address of the destination, if destinations have one.
        mac: MacAddr,
        /// IP address and port of the destination.
        addr: UnderlayAddr,
    },
    /// Nowhere.
    Drop,
    /// The address is no guest's but a router's: its frames are forwarded by their IP addresses.
    /// Version 1 has no word for it.
    Router,
}

impl CacheEntry {
    /// Where frames go; `None` if no host gets them as they are.
    pub fn addr(&self) -> Option<UnderlayAddr> {
        match self {
            CacheEntry::To { addr, .. } => Some(*addr),
            CacheEntry::Drop | CacheEntry::Router => None,
        }
    }

    pub(crate) fn new(flags: u16, mac: [u8; 6], ip: [u8; 16], port: u16) -> CacheEntry {
        if flags & OVERLAY_TARGET_CACHE_DROP != 0 {
            CacheEntry::Drop
        } else if flags & OVERLAY_TARGET_CACHE_ROUTER != 0 {
            CacheEntry::Router
        } else {
            CacheEntry::To { mac: MacAddr(mac), addr: UnderlayAddr { ip, port } }
        }
    }
}

impl From<&varpd_client_cache_entry_t> for CacheEntry {
    fn from(e: &varpd_client_cache_entry_t) -> CacheEntry {
        CacheEntry::new(e.vcp_flags, e.vcp_mac, e.vcp_ip, e.vcp_port)
    }
}

impl From<&CacheEntry> for varpd_client_cache_entry_t {
    fn from(entry: &CacheEntry) -> varpd_client_cache_entry_t {
        let mut e = varpd_client_cache_entry_t::new_zeroed();
        match entry {
            CacheEntry::To { mac, addr } => {
                (e.vcp_mac, e.vcp_ip, e.vcp_port) = (mac.0, addr.ip, addr.port);
            }
            CacheEntry::Drop => e.vcp_flags = OVERLAY_TARGET_CACHE_DROP,
            CacheEntry::Router => e.vcp_flags = OVERLAY_TARGET_CACHE_ROUTER,
        }
        e
    }
}

impl Client {
    /// Forgets all entries of the link's target cache.
    ///
    /// # Errors
    /// `EPERM`; `ENOENT`; `ENXIO`: not activated; `ENOTSUP`: a point-to-point link.
    pub fn cache_flush(&self, id: VarpdId) -> Result<(), Errno> {
        self.cache(VARPD_CLIENT_CACHE_FLUSH, id, MacAddr::ZERO, None).map(|_| ())
    }

    /// Forgets the entry of one address; errors as [`Client::cache_flush`], `ENOENT` also without
    /// it.
    pub fn cache_delete(&self, id: VarpdId, mac: MacAddr) -> Result<(), Errno> {
        self.cache(VARPD_CLIENT_CACHE_DELETE, id, mac, None).map(|_| ())
    }

    /// The entry of one address, on a point-to-point link its destination. `ENOENT`, `ENXIO`.
    pub fn cache_get(&self, id: VarpdId, mac: MacAddr) -> Result<CacheEntry, Errno> {
        self.cache(VARPD_CLIENT_CACHE_GET, id, mac, None)
    }

    /// Sets the entry of one address; errors as [`Client::cache_flush`], `EINVAL` for a router.
    pub fn cache_set(&self, id: VarpdId, mac: MacAddr, entry: &CacheEntry) -> Result<(), Errno> {
        self.cache(VARPD_CLIENT_CACHE_SET, id, mac, Some(entry)).map(|_| ())
    }

    fn cache(
        &self,
        command: u32,
        id: VarpdId,
        mac: MacAddr,
        entry: Option<&CacheEntry>,
    ) -> Result<CacheEntry, Errno> {
        let mut arg = varpd_client_target_cache_arg_t::new_zeroed();
        arg.vtca_id = id.0;
        arg.vtca_key = mac.0;
        if let Some(entry) = entry {
            arg.vtca_entry = entry.into();
        }
        self.call(command, &mut arg)?;
        Ok((&arg.vtca_entry).into())
    }

    /// Calls `each` for every entry in order of addresses until it returns false. A point-to-point
    /// link has one entry, with a zero address.
    pub fn cache_walk(
        &self,
        id: VarpdId,
        mut each: impl FnMut(MacAddr, &CacheEntry) -> bool,
    ) -> Result<(), Errno> {
        let mut walk =
            varpd_client_target_walk_arg_t { vtcw_id: id.0, vtcw_marker: 0, vtcw_count: 0 };
        loop {
            walk.vtcw_count = WALK as u64;
            let mut message = vec![0; walk_len(WALK)];
            put(&mut message, VARPD_CLIENT_CACHE_WALK, &walk);
            let reply = self.exchange(&message)?;
            walk = get(&reply)?;
            let entries: Vec<overlay_targ_cache_entry_t> =
                items(&reply, walk_len(0), walk.vtcw_count)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let overlay_target_point_t { otp_mac, otp_ip, otp_port, .. } = entry.otce_dest;
                let value = CacheEntry::new(entry.otce_flags, otp_mac, otp_ip, otp_port);
                if !each(entry.mac(), &value) {
                    return Ok(());
                }
            }
        }
    }
}
