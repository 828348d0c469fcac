// SPDX-License-Identifier: CDDL-1.0
//! The direct lookup plugin: one destination for every frame (spec/varpd.md 7.1).
//!
//! ```text
//!   overlay link --- every frame ---> direct/dest_ip : direct/dest_port
//! ```
//!
//! Two hosts joined back to back need no directory; this is their plugin. `direct/dest_ip` is
//! always there; `direct/dest_port` is a property only where the encapsulation needs a port.
//!
//! The library file is `libvarpd_direct.so.1` on illumos, beside a link `libvarpd_direct.so` that
//! varpd loads; cargo makes the latter. See varpd-plugin for the vocabulary.
//!
//! # Invariants
//!
//! * One lock, over both values; nothing is called while it is held.
//! * A restored object is in the state in which it was saved (the original forgot its destination
//!   bits and that it had an address).

use overlay_abi::errno::Errno;
use overlay_abi::props;
use overlay_abi::target::{
    OVERLAY_PLUGIN_D_ETHERNET, OVERLAY_PLUGIN_D_INVALID, OVERLAY_PLUGIN_D_IP,
    OVERLAY_PLUGIN_D_PORT, overlay_target_point_t,
};
use std::ffi::CStr;
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use varpd_plugin::{NvList, Plugin, Point, Prop, Provider};
use zerocopy::FromZeros;

const IP: &CStr = c"direct/dest_ip";
const PORT: &CStr = c"direct/dest_port";

/// An instance.
#[derive(Debug)]
pub struct Direct {
    dest: u32,
    /// The kernel was told the destination and does not ask again.
    started: AtomicBool,
    target: Mutex<Target>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Target {
    ip: Option<[u8; 16]>,
    port: Option<u16>,
}

varpd_plugin::plugin!(point: Direct);

impl Direct {
    /// An instance without destination. `ENOTSUP` unless `dest` is IP, PORT or both.
    fn new(dest: u32, target: Target) -> Result<Direct, Errno> {
        let ok = dest != OVERLAY_PLUGIN_D_INVALID
            && dest & !(OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT) == 0
            && dest & OVERLAY_PLUGIN_D_ETHERNET == 0;
        if !ok {
            return Err(Errno::ENOTSUP);
        }
        Ok(Direct { dest, started: AtomicBool::new(false), target: Mutex::new(target) })
    }

    fn needs_port(&self) -> bool {
        self.dest & OVERLAY_PLUGIN_D_PORT != 0
    }

    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses addresses that cannot be a tunnel's end: v4-compatible ones (`::` and `::1` excepted)
/// and 6to4.
fn check_ip(ip: [u8; 16]) -> Result<(), Errno> {
    let addr = Ipv6Addr::from(ip);
    let compatible = ip.starts_with(&[0; 12]) && !addr.is_unspecified() && !addr.is_loopback();
    let six_to_four = ip.starts_with(&[0x20, 0x02]);
    if compatible || six_to_four { Err(Errno::EINVAL) } else { Ok(()) }
}

impl Plugin for Direct {
    const NAME: &'static CStr = c"direct";

    fn create(_: Provider, dest: u32) -> Result<Self, Errno> {
        Direct::new(dest, Target::default())
    }

    fn start(&self) -> Result<(), Errno> {
        let target = *self.target();
        if target.ip.is_none() || (self.needs_port() && target.port.is_none()) {
            return Err(Errno::EAGAIN);
        }
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn stop(&self) {
        self.started.store(false, Ordering::Relaxed);
    }

    fn nprops(&self) -> u32 {
        if self.needs_port() { 2 } else { 1 }
    }

    fn propinfo(&self, id: u32, prop: &mut Prop<'_>) -> Result<(), Errno> {
        match id {
            0 => prop.describe(IP, props::OVERLAY_PROP_T_IP, props::OVERLAY_PROP_PERM_RRW),
            1 if self.needs_port() => {
                prop.describe(PORT, props::OVERLAY_PROP_T_UINT, props::OVERLAY_PROP_PERM_RRW);
                prop.range(1, u16::MAX.into());
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn getprop(&self, name: &str, buf: &mut [u8]) -> Result<u32, Errno> {
        let target = *self.target();
        if name.as_bytes() == IP.to_bytes() {
            target.ip.map_or(Ok(0), |ip| props::put(buf, &ip))
        } else if name.as_bytes() == PORT.to_bytes() && self.needs_port() {
            target.port.map_or(Ok(0), |port| props::put(buf, &u64::from(port).to_ne_bytes()))
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// `EBUSY` while started: a new destination would be shown and not be used.
    fn setprop(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        if self.started.load(Ordering::Relaxed) {
            return Err(Errno::EBUSY);
        }
        if name.as_bytes() == IP.to_bytes() {
            let (ip, _) = value.split_first_chunk::<16>().ok_or(Errno::EOVERFLOW)?;
            check_ip(*ip)?;
            self.target().ip = Some(*ip);
        } else if name.as_bytes() == PORT.to_bytes() && self.needs_port() {
            let (number, _) = value.split_first_chunk::<8>().ok_or(Errno::EOVERFLOW)?;
            let port = u16::try_from(u64::from_ne_bytes(*number)).map_err(|_| Errno::EINVAL)?;
            if port == 0 {
                return Err(Errno::EINVAL);
            }
            self.target().port = Some(port);
        } else {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno> {
        let target = *self.target();
        if let Some(port) = target.port {
            list.add_u16(PORT, port)?;
        }
        if let Some(ip) = target.ip {
            list.add_str(IP, &Ipv6Addr::from(ip).to_string())?;
        }
        Ok(())
    }

    fn restore(list: &NvList<'_>, _: Provider, dest: u32) -> Result<Self, Errno> {
        let port = list.u16(PORT)?;
        let ip = list.str(IP)?.map(str::parse::<Ipv6Addr>).transpose();
        let ip = ip.map_err(|_| Errno::EINVAL)?.map(|ip| ip.octets());
        // A file is no more to be believed than a client.
        ip.map_or(Ok(()), check_ip)?;
        if port == Some(0) {
            return Err(Errno::EINVAL);
        }
        Direct::new(dest, Target { ip, port })
    }
}

impl Point for Direct {
    fn destination(&self) -> Option<overlay_target_point_t> {
        let target = *self.target();
        let mut point = overlay_target_point_t::new_zeroed();
        point.otp_ip = target.ip?;
        point.otp_port = target.port.unwrap_or(0);
        Some(point)
    }
}
