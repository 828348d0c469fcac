// SPDX-License-Identifier: CDDL-1.0
//! An overlay that routes, for the fuzz targets of the driver: booted for each input, and shut down
//! with nothing left.
//!
//! ```text
//!   guest: Client ── frames ──► overlay LINK ── VXLAN ──► sink, a UDP socket
//!                                 ▲    ▲
//!          varpd: version 2 ──────┘    └────── reader: version 1
//! ```

use fakekernel::host::{Config, Cred, Kernel, Model, OpenDev, SelfMem, StaticModule, boot};
use fakekernel::kstat::{self, Value};
use fakekernel::net::client::{Client, Frame, Frames};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use overlay_abi::target::*;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The overlay.
pub const LINK: u32 = 7;
/// Its virtual network.
pub const VNET: u64 = 0x123456;
/// Its data center.
pub const DCID: u32 = 4711;
/// The guest's address.
pub const GUEST: [u8; 6] = [2, 8, 0x20, 0xaa, 0, 1];
/// An address that is a router's.
pub const ROUTER: [u8; 6] = [2, 8, 0x20, 0xff, 0, 1];

const READ: i32 = 1;
const READ_WRITE_EXCL: i32 = 0x403;

/// See the crate. Ends with [`Rig::end`].
pub struct Rig {
    kernel: Kernel,
    dld: OpenDev,
    /// A handle that speaks version 2.
    pub varpd: OpenDev,
    /// A handle that speaks version 1, and only reads.
    pub reader: OpenDev,
    /// A guest on the overlay.
    pub guest: Client,
    /// Where answers may send packets.
    pub sink: UdpSocket,
}

/// An ioctl with an argument of this process.
///
/// # Errors
/// The driver's.
pub fn call<T: IntoBytes + FromBytes>(dev: &OpenDev, cmd: u32, arg: &mut T) -> Result<(), Errno> {
    let at = arg.as_mut_bytes().as_mut_ptr() as u64;
    dev.ioctl(cmd as i32, at, Model::Lp64, &SelfMem).map(drop)
}

/// An address of this machine that no other process of the fuzzers has.
fn address(n: u8) -> SocketAddrV4 {
    let [.., a, b, c] = std::process::id().to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(127, 128 | a, b, c), 4700 + u16::from(n))
}

impl Rig {
    /// Boots, and makes the overlay, active and in use.
    ///
    /// # Panics
    /// Anything of that fails.
    pub fn boot() -> Rig {
        let kernel = boot(Config { txpool: 1, ..Config::default() });
        for m in [overlay::module(), vxlan::module()] {
            let needs: &[&str] = if m.name == "drv/overlay" { &[] } else { &["drv/overlay"] };
            let m = StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info };
            kernel.register_module_needing(m, needs);
        }
        kernel.modload("drv/overlay").expect("it loads");
        let root = Cred::KERNEL;
        let dld = kernel.open(DLD_CONTROL_DEV, 3, &root).expect("/dev/dld");
        let varpd = kernel.open(OVERLAY_DEV, READ_WRITE_EXCL, &root).expect("/dev/overlay");
        let reader = kernel.open(OVERLAY_DEV, READ, &root).expect("/dev/overlay");
        create(&dld);
        let mut version = v2::VERSION;
        call(&varpd, OVERLAY_TARG_ABI, &mut version).expect("version 2");
        let mut a = v2::overlay_targ_associate_t::new_zeroed();
        (a.ota_linkid, a.ota_mode, a.ota_id) = (LINK, OVERLAY_TARGET_DYNAMIC, 1);
        a.ota_provides = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
        call(&varpd, OVERLAY_TARG_ASSOCIATE, &mut a).expect("a target");
        let mut router = v2::overlay_targ_cache_t::new_zeroed();
        router.otc_linkid = LINK;
        router.otc_entry.otce_mac = v2::overlay_target_mac_t::new(0, MacAddr(ROUTER));
        router.otc_entry.otce_flags = v2::OVERLAY_TARGET_CACHE_ROUTER;
        call(&varpd, OVERLAY_TARG_CACHE_SET, &mut router).expect("a router");
        let mut activate = overlay_ioc_activate_t { oia_linkid: LINK };
        call(&dld, OVERLAY_IOC_ACTIVATE, &mut activate).expect("it is active");
        let sink = UdpSocket::bind(address(2)).expect("a socket");
        sink.set_nonblocking(true).expect("a socket");
        let guest = Client::open(LINK).expect("a guest");
        Rig { kernel, dld, varpd, reader, guest, sink }
    }

    /// Where the sink is.
    pub fn to(&self) -> UnderlayAddr {
        SocketAddr::from(address(2)).into()
    }

    /// Sends a frame in these blocks.
    ///
    /// # Panics
    /// The driver gives it back.
    pub fn send(&self, blocks: &[&[u8]]) {
        let Some(frame) = Frame::from_blocks(blocks) else { return };
        let taken = self.guest.tx_all(Frames::from(frame), Duration::from_secs(10));
        assert!(taken, "the driver gives a frame back");
    }

    /// A counter of the overlay.
    pub fn counter(&self, name: &str) -> u64 {
        let stats = kstat::read(Some("overlay"), Some(LINK as i32), None);
        let found = stats.iter().flat_map(|k| &k.data).find(|(n, _)| n == name);
        match found {
            Some((_, Value::U64(n))) => *n,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Takes everything down.
    ///
    /// # Panics
    /// A rule of the kernel was broken, or something is left.
    pub fn end(self) {
        let Rig { kernel, dld, varpd, reader, guest, .. } = self;
        drop(guest);
        call(&dld, OVERLAY_IOC_DELETE, &mut overlay_ioc_delete_t { oid_linkid: LINK })
            .expect("it goes");
        drop((varpd, reader, dld));
        kernel.shutdown().expect("no rule broken, nothing leaked");
    }
}

fn create(dld: &OpenDev) {
    let mut c = overlay_ioc_create_t::new_zeroed();
    (c.oic_linkid, c.oic_vnetid, c.oic_dcid) = (LINK, VNET, DCID);
    c.oic_encap = overlay_abi::to_c_name("vxlan").expect("a name");
    call(dld, OVERLAY_IOC_CREATE, &mut c).expect("an overlay");
    let at = UnderlayAddr::from(SocketAddr::from(address(1)));
    let port = u64::from(at.port).to_ne_bytes();
    for (name, value) in [("vxlan/listen_ip", &at.ip[..]), ("vxlan/listen_port", &port)] {
        let mut p = overlay_ioc_prop_t::new_zeroed();
        (p.oip_linkid, p.oip_id, p.oip_size) = (LINK, -1, value.len() as u32);
        p.oip_name = overlay_abi::to_c_name(name).expect("a name");
        p.oip_value[..value.len()].copy_from_slice(value);
        call(dld, OVERLAY_IOC_SETPROP, &mut p).expect("a property");
    }
}
