// SPDX-License-Identifier: CDDL-1.0
//! Where a link's packets go: one place, or one for each address.
pub(crate) mod cache;
pub(crate) mod limit;
pub(crate) mod prefix;
pub(crate) mod realm;
pub(crate) mod table;

use crate::dev::Dev;
use crate::request::Requests;
use cache::Cache;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicU64, Ordering};
use ddi::{Errno, sys};
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::{OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT};

/// Destination bits the driver can send to.
const SENDABLE: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;

/// How packets find their destination.
#[expect(
    clippy::large_enum_variant,
    reason = "one for a link; a box would cost each packet a load"
)]
pub(crate) enum Mode {
    /// All to one.
    Point(UnderlayAddr),
    /// Each address has its own, varpd knows.
    Dynamic(Cache),
    /// The encapsulation wants destinations this driver cannot send to.
    Unsendable(UnderlayAddr),
}

/// What a varpd instance is to a link.
pub(crate) struct Target {
    /// Never used twice: what began with another target does not end here.
    pub number: u64,
    /// The varpd instance.
    pub varpd: u64,
    pub mode: Mode,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Target {
    pub fn point(varpd: u64, dest: u32, addr: UnderlayAddr) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mode = if dest == SENDABLE { Mode::Point(addr) } else { Mode::Unsendable(addr) };
        Target { number, varpd, mode }
    }

    pub fn dynamic(varpd: u64, dest: u32, dev: &Dev) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let mode = if dest == SENDABLE {
            Mode::Dynamic(Cache::new(dev.linkid, number, dev.dcid, &dev.limits))
        } else {
            Mode::Unsendable(UnderlayAddr { ip: [0; 16], port: 0 })
        };
        Target { number, varpd, mode }
    }

    /// The cache of a dynamic target.
    pub fn cache(&self) -> Option<&Cache> {
        match &self.mode {
            Mode::Dynamic(cache) => Some(cache),
            Mode::Point(_) | Mode::Unsendable(_) => None,
        }
    }

    /// Ends all lookups of the target. Nobody uses it any more; what waits in it is freed with it.
    pub fn finish(&self, requests: &Requests, gone: impl FnMut(ddi::mblk::Mblk)) {
        requests.purge(self.number);
        if let Some(cache) = self.cache() {
            cache.drain(gone);
        }
    }
}

/// Whether packets can be sent there.
///
/// # Errors
/// `EINVAL`: no address (`::` or `::ffff:0.0.0.0`), a v4-compatible one, or port 0.
pub(crate) fn check_addr(addr: UnderlayAddr) -> Result<(), Errno> {
    let ip = Ipv6Addr::from(addr.ip);
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4_compat = [a, b, c, d, e, f] == [0; 6] && (g != 0 || h > 1);
    let nowhere = ip.is_unspecified() || ip.to_ipv4_mapped().is_some_and(|v4| v4.is_unspecified());
    if nowhere || v4_compat || addr.port == 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// The address as sockets want it.
#[inline]
pub(crate) fn sockaddr(addr: &UnderlayAddr) -> sys::sockaddr_in6 {
    sys::sockaddr_in6 {
        sin6_family: sys::AF_INET6 as u16,
        sin6_port: addr.port.to_be(),
        sin6_flowinfo: 0,
        sin6_addr: sys::in6_addr { s6_addr: addr.ip },
        sin6_scope_id: 0,
        __sin6_src_id: 0,
    }
}
