// SPDX-License-Identifier: CDDL-1.0
//! An overlay kernel in this process, for measurements and for the soak.
//!
//! ```text
//!   OverlayKernel ── /dev/dld, /dev/overlay (the real ioctls) ──► overlay ── vxlan
//!        │                                                          │ UDP on loopback
//!        └── Client (fakekernel): frames in and out                 ▼
//! ```
//!
//! Nothing of the driver is reached but through its ioctls and through MAC.

use anyhow::{Context, Result};
use fakekernel::host::{Config, Cred, Kernel, Model, OpenDev, SelfMem, StaticModule, boot};
use fakekernel::kstat::Value;
use overlay_abi::dld::{
    OVERLAY_IOC_ACTIVATE, OVERLAY_IOC_CREATE, OVERLAY_IOC_DELETE, OVERLAY_IOC_SETPROP,
    overlay_ioc_activate_t, overlay_ioc_create_t, overlay_ioc_delete_t, overlay_ioc_prop_t,
};
use overlay_abi::errno::Errno;
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::*;
use std::net::IpAddr;
use std::path::Path;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const READ: i32 = 0x1;
const WRITE: i32 = 0x2;
const EXCL: i32 = 0x400;

/// Destination bits of vxlan.
const DEST: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;

/// A booted kernel with the overlay driver.
pub struct OverlayKernel {
    // Closed before the kernel goes down.
    dld: OpenDev,
    kernel: Kernel,
}

/// `/dev/overlay`, open as varpd has it.
pub struct Varpd(OpenDev);

impl OverlayKernel {
    /// Boots and loads `drv/overlay`; vxlan comes with the first link. Both are what is linked in, or the files
    /// `overlay` and `vxlan` of a directory.
    ///
    /// # Errors
    /// The driver does not load or attach, or its devices do not open.
    pub fn boot(config: Config, files: Option<&Path>) -> Result<OverlayKernel> {
        let kernel = boot(config);
        for m in [overlay::module(), vxlan::module()] {
            let m = StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info };
            if m.name == "drv/overlay" {
                kernel.register_module(m);
            } else {
                kernel.register_module_needing(m, &["drv/overlay"]);
            }
        }
        if let Some(dir) = files {
            for name in ["drv/overlay", "overlay/vxlan"] {
                let file = dir.join(name.rsplit('/').next().unwrap_or(name));
                kernel.register_module_file(krtld::Module::new(name, file))?;
            }
        }
        kernel.modload("drv/overlay").context("modload drv/overlay")?;
        let root = Cred::KERNEL;
        let dld = kernel.open("/dev/dld", READ | WRITE, &root).context("/dev/dld")?;
        Ok(OverlayKernel { dld, kernel })
    }

    /// Opens `/dev/overlay`.
    ///
    /// # Errors
    /// `EEXIST`: it is open already.
    pub fn open_varpd(&self) -> Result<Varpd, Errno> {
        self.kernel.open("/dev/overlay", READ | WRITE | EXCL, &Cred::KERNEL).map(Varpd)
    }

    /// Shuts down; `/dev/overlay` must be closed.
    ///
    /// # Errors
    /// The violations that the kernel recorded, and what leaked.
    pub fn shutdown(self) -> Result<()> {
        let OverlayKernel { dld, kernel } = self;
        drop(dld);
        kernel.shutdown().map_err(|v| {
            let list: Vec<_> = v.iter().take(20).map(|v| format!("{v}")).collect();
            anyhow::anyhow!("{} violations:\n{}", v.len(), list.join("\n"))
        })
    }

    /// An ioctl of /dev/dld.
    ///
    /// # Errors
    /// The driver's.
    pub fn dld<T: IntoBytes + FromBytes + Immutable>(
        &self,
        cmd: u32,
        arg: &mut T,
    ) -> Result<(), Errno> {
        ioctl(&self.dld, cmd, arg.as_mut_bytes())
    }

    /// A link on `listen`, not active yet and without a target.
    ///
    /// # Errors
    /// The driver's.
    pub fn create(&self, linkid: u32, vnet: u64, listen: UnderlayAddr) -> Result<(), Errno> {
        let mut c = overlay_ioc_create_t::new_zeroed();
        c.oic_linkid = linkid;
        c.oic_vnetid = vnet;
        for (to, from) in c.oic_encap.iter_mut().zip(b"vxlan") {
            *to = *from;
        }
        self.dld(OVERLAY_IOC_CREATE, &mut c)?;
        self.setprop(linkid, b"vxlan/listen_ip", &listen.ip)?;
        self.setprop(linkid, b"vxlan/listen_port", &u64::from(listen.port).to_ne_bytes())
    }

    /// Sets a property of a link.
    ///
    /// # Errors
    /// The driver's.
    pub fn setprop(&self, linkid: u32, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        let mut p = overlay_ioc_prop_t::new_zeroed();
        p.oip_linkid = linkid;
        p.oip_id = -1;
        for (to, from) in p.oip_name.iter_mut().zip(name) {
            *to = *from;
        }
        for (to, from) in p.oip_value.iter_mut().zip(value) {
            *to = *from;
        }
        p.oip_size = value.len() as u32;
        self.dld(OVERLAY_IOC_SETPROP, &mut p)
    }

    /// Activates a link.
    ///
    /// # Errors
    /// The driver's.
    pub fn activate(&self, linkid: u32) -> Result<(), Errno> {
        self.dld(OVERLAY_IOC_ACTIVATE, &mut overlay_ioc_activate_t { oia_linkid: linkid })
    }

    /// Deletes a link.
    ///
    /// # Errors
    /// The driver's.
    pub fn delete(&self, linkid: u32) -> Result<(), Errno> {
        self.dld(OVERLAY_IOC_DELETE, &mut overlay_ioc_delete_t { oid_linkid: linkid })
    }

    /// A named number of a link's kstat, 0 if there is none.
    #[must_use]
    pub fn counter(&self, linkid: u32, name: &str) -> u64 {
        counter("overlay", linkid as i32, name)
    }
}

/// A counter of the kernel.
pub fn counter(module: &str, instance: i32, name: &str) -> u64 {
    fakekernel::kstat::read(Some(module), Some(instance), None)
        .iter()
        .flat_map(|k| &k.data)
        .filter(|(n, _)| n == name)
        .filter_map(|(_, v)| match v {
            Value::U64(n) => Some(*n),
            _ => None,
        })
        .sum()
}

impl Varpd {
    /// An ioctl.
    ///
    /// # Errors
    /// The driver's.
    pub fn ioctl<T: IntoBytes + FromBytes + Immutable>(
        &self,
        cmd: u32,
        arg: &mut T,
    ) -> Result<(), Errno> {
        ioctl(&self.0, cmd, arg.as_mut_bytes())
    }

    /// Gives a link a target: all frames to `point`, or a cache.
    ///
    /// # Errors
    /// The driver's.
    pub fn associate(&self, linkid: u32, point: Option<UnderlayAddr>) -> Result<(), Errno> {
        let mut a = overlay_targ_associate_t::new_zeroed();
        a.ota_linkid = linkid;
        a.ota_id = u64::from(linkid);
        a.ota_provides = DEST;
        a.ota_mode = OVERLAY_TARGET_DYNAMIC;
        if let Some(p) = point {
            a.ota_mode = OVERLAY_TARGET_POINT;
            a.ota_point = p.into();
        }
        self.ioctl(OVERLAY_TARG_ASSOCIATE, &mut a)
    }

    /// Takes the target of a link away.
    ///
    /// # Errors
    /// The driver's.
    pub fn disassociate(&self, linkid: u32) -> Result<(), Errno> {
        self.ioctl(OVERLAY_TARG_DISASSOCIATE, &mut overlay_targ_id_t { otid_linkid: linkid })
    }

    /// Puts an answer in a link's cache.
    ///
    /// # Errors
    /// The driver's.
    pub fn cache_set(&self, linkid: u32, mac: [u8; 6], to: UnderlayAddr) -> Result<(), Errno> {
        let mut c = overlay_targ_cache_t::new_zeroed();
        c.otc_linkid = linkid;
        c.otc_entry.otce_mac = mac;
        c.otc_entry.otce_dest = to.into();
        self.ioctl(OVERLAY_TARG_CACHE_SET, &mut c)
    }
}

/// Runs an ioctl on memory of this process.
///
/// # Errors
/// The driver's.
pub fn ioctl(dev: &OpenDev, cmd: u32, arg: &mut [u8]) -> Result<(), Errno> {
    dev.ioctl(cmd as i32, arg.as_mut_ptr() as u64, Model::Lp64, &SelfMem).map(drop)
}

/// An underlay address.
///
/// # Panics
/// `ip` is no IP address: these are literals.
#[must_use]
pub fn at(ip: &str, port: u16) -> UnderlayAddr {
    let ip: IpAddr = ip.parse().expect("an address");
    UnderlayAddr::new(ip, port)
}

/// The n-th unicast address of a test's guests.
#[must_use]
pub fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x02, 0x08, a, b, c, d]
}

/// An Ethernet frame with an IPv4 UDP header inside, `len` bytes in all (at least 64).
#[must_use]
pub fn frame(dst: [u8; 6], src: [u8; 6], len: usize) -> Vec<u8> {
    let mut f = vec![0x5a; len.max(64)];
    let ip_len = (f.len() - 14) as u16;
    let udp_len = ip_len - 20;
    let header: Vec<u8> = [
        &dst[..],
        &src[..],
        &[0x08, 0x00, 0x45, 0],
        &ip_len.to_be_bytes(),
        &[0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x13, 0x88, 0x13, 0x89],
        &udp_len.to_be_bytes(),
        &[0, 0],
    ]
    .concat();
    f[..header.len()].copy_from_slice(&header);
    f
}
