// SPDX-License-Identifier: CDDL-1.0
//! The smoke program: an overlay from its creation to a frame on the wire, and away again; then one
//! that routes.
//!
//! ```text
//!   VNIC smokeN+1 -- frame --> overlay smokeN, vxlan 127.0.0.1 --> UDP socket of this program
//! ```
//!
//! The first has one destination and is spoken to in version 1. The second (`routed`) asks this
//! program for each address and route, in version 2.
//!
//! One line for each check, `PASS name` or `FAIL name: why`; what cannot be tried because an earlier
//! check failed is left out, and everything made is taken away in any case. It takes varpd's place,
//! which therefore must not run (`svcadm disable -t network/varpd`), and needs dlmgmtd and root.
//!
//! On illumos the frame goes out by DLPI. The tests of this project run the same checks over
//! fakekerneld, with a guest of its own as the sender.

#[cfg(target_os = "illumos")]
pub mod dlpi;
mod routed;

use devctl::{Device, OpenFlags, Root};
use libdladm::dlmgmt::{Class, Flags};
use libdladm::vnic::{self, Mac};
use libdladm::{Handle, overlay};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, UnderlayAddr, VnetId};
use overlay_abi::props;
use overlay_abi::target::*;
use overlay_abi::to_c_name;
use overlay_abi::vxlan::vxlan_hdr_t;
use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros};

/// Virtual network of the overlays, of which there is one at a time.
const VNET: VnetId = VnetId(0x5e0be);
/// The instance id it is associated with; any but 0.
const INSTANCE: u64 = 0x7fff_0000;

type Outcome<T> = Result<T, String>;

/// An Ethernet frame of a VNIC, but for its source, which is the VNIC's own address.
#[derive(Debug)]
pub struct Frame {
    /// Destination.
    pub to: [u8; 6],
    /// Ethernet type.
    pub kind: u16,
    /// What is behind the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// One that nobody receives, of IEEE's type for local experiments.
    fn stray() -> Frame {
        Frame { to: [2, 8, 0x20, 0xff, 0xff, 1], kind: 0x88b5, payload: vec![0x5a; 46] }
    }
}

/// Sends a frame out of the VNIC with this name.
pub type Send<'a> = &'a dyn Fn(&str, &Frame) -> Outcome<()>;

/// The lines so far.
struct Report<'a> {
    out: &'a mut dyn Write,
    failed: usize,
}

impl Report<'_> {
    fn check<T, E: Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        let line = match &result {
            Ok(_) => format!("PASS {name}"),
            Err(e) => format!("FAIL {name}: {e}"),
        };
        // Nobody reads any more: the exit status still says it.
        let _ = writeln!(self.out, "{line}");
        self.failed += usize::from(result.is_err());
        result.ok()
    }
}

/// Runs all checks and returns how many failed.
pub fn run(root: &Root, out: &mut dyn Write, send: Send<'_>) -> usize {
    let mut report = Report { out, failed: 0 };
    let open = |report: &mut Report<'_>, node, flags| {
        let name = format!("a program of {} bits opens {node}", usize::BITS);
        report.check(&name, Device::open(root, node, flags))
    };
    let device = open(&mut report, OVERLAY_DEV, OpenFlags::RDWR | OpenFlags::EXCL);
    let dld = open(&mut report, DLD_CONTROL_DEV, OpenFlags::RDWR).map(Dld);
    let handle = report.check("dlmgmtd answers", linked(root));
    if let (Some(device), Some(dld), Some(h)) = (device, dld, handle) {
        Smoke { root, device, dld, h }.run(&mut report, send);
    }
    report.failed
}

/// What the checks work with.
struct Smoke<'a> {
    root: &'a Root,
    device: Device,
    dld: Dld,
    h: Handle,
}

impl Smoke<'_> {
    fn run(&self, report: &mut Report<'_>, send: Send<'_>) {
        let before = report.check("overlay LIST", count(&self.device));
        let links = self.h.links();
        for part in [Smoke::link, Smoke::routed] {
            let id = free_name(&self.h)
                .and_then(|name| links.create(&name, Class::OVERLAY, Flags::ACTIVE).map_err(text));
            if let Some(id) = report.check("a link id", id) {
                part(self, report, id, send);
                report.check("the link id goes", links.destroy(id, Flags::ACTIVE));
            }
        }
        if let (Some(before), Ok(after)) = (before, count(&self.device)) {
            let same = if before == after { Ok(()) } else { Err(format!("{before}, {after}")) };
            report.check("as many overlays as before", same);
        }
    }

    fn link(&self, report: &mut Report<'_>, id: LinkId, send: Send<'_>) {
        if report.check("overlay CREATE with vxlan", self.dld.create(id, 0)).is_none() {
            return;
        }
        if let Some(socket) = report.check("a socket for datagrams", receiver()) {
            self.overlay(report, id, &socket, send);
        }
        report.check("overlay DELETE", self.dld.delete(id));
    }

    fn overlay(&self, report: &mut Report<'_>, id: LinkId, socket: &UdpSocket, send: Send<'_>) {
        self.listen(report, id);
        let needs = report.check("overlay INFO", info(&self.device, id)).map(|i| i.oti_needs);
        let target = socket.local_addr().map_err(text);
        let associated = target
            .and_then(|target| associate(&self.device, id, needs.unwrap_or_default(), target));
        if report.check("overlay ASSOCIATE with a point", associated).is_none()
            || report.check("overlay ACTIVATE", self.dld.activate(id)).is_none()
        {
            return;
        }
        report.check("overlay STATUS", healthy(&self.h, id));
        self.vnic(report, id, |report, vnic| {
            let sent = send(vnic, &Frame::stray());
            if report.check("a frame goes out of the VNIC", sent).is_some() {
                report.check("and comes as a VXLAN datagram", datagram(socket, VNET));
            }
        });
    }

    /// Gives an overlay an address that no VXLAN in use has.
    fn listen(&self, report: &mut Report<'_>, id: LinkId) {
        let ip = UnderlayAddr::new(Ipv4Addr::LOCALHOST.into(), 0).ip;
        report.check("property vxlan/listen_ip", self.dld.set(id, "vxlan/listen_ip", &ip));
        let port = u64::from(free_port().unwrap_or(4790)).to_ne_bytes();
        report.check("property vxlan/listen_port", self.dld.set(id, "vxlan/listen_port", &port));
    }

    /// Makes a VNIC, whose name `with` gets, and takes it away.
    fn vnic(
        &self,
        report: &mut Report<'_>,
        over: LinkId,
        with: impl FnOnce(&mut Report<'_>, &str),
    ) {
        let made = free_name(&self.h).and_then(|name| {
            let (mac, vid, force, temporary) = (Mac::Auto, 0, false, true);
            let spec = vnic::Create { name: &name, over, mac, vid, force, temporary };
            vnic::create(&self.h, &spec).map(|(id, _)| (name, id)).map_err(text)
        });
        let Some((name, id)) = report.check("a VNIC over it", made) else { return };
        with(report, &name);
        report.check("the VNIC goes", vnic::delete(&self.h, id));
    }
}

/// The ioctls of the overlay driver on /dev/dld.
struct Dld(Device);

impl Dld {
    fn create(&self, id: LinkId, oic_dcid: u32) -> Outcome<()> {
        let oic_encap = to_c_name("vxlan").unwrap_or([0; MAXLINKNAMELEN]);
        let (oic_linkid, oic_vnetid) = (id.0, VNET.0);
        let mut arg = overlay_ioc_create_t { oic_linkid, oic_dcid, oic_vnetid, oic_encap };
        self.0.ioctl_with(OVERLAY_IOC_CREATE, &mut arg).map(drop).map_err(text)
    }

    fn delete(&self, id: LinkId) -> Outcome<()> {
        let mut arg = overlay_ioc_delete_t { oid_linkid: id.0 };
        self.0.ioctl_with(OVERLAY_IOC_DELETE, &mut arg).map(drop).map_err(text)
    }

    fn activate(&self, id: LinkId) -> Outcome<()> {
        let mut arg = overlay_ioc_activate_t { oia_linkid: id.0 };
        self.0.ioctl_with(OVERLAY_IOC_ACTIVATE, &mut arg).map(drop).map_err(text)
    }

    /// Finds a property by its name and sets it by its number.
    fn set(&self, id: LinkId, name: &str, value: &[u8]) -> Outcome<()> {
        let mut info = overlay_ioc_propinfo_t::new_zeroed();
        info.oipi_linkid = id.0;
        info.oipi_id = -1;
        info.oipi_name = to_c_name(name).unwrap_or(info.oipi_name);
        self.0.ioctl_with(OVERLAY_IOC_PROPINFO, &mut info).map_err(text)?;
        let mut arg = overlay_ioc_prop_t::new_zeroed();
        arg.oip_linkid = id.0;
        arg.oip_id = info.oipi_id;
        arg.oip_size = props::put(&mut arg.oip_value, value).map_err(text)?;
        self.0.ioctl_with(OVERLAY_IOC_SETPROP, &mut arg).map(drop).map_err(text)
    }
}

fn text(e: impl Display) -> String {
    e.to_string()
}

/// How many overlays there are.
fn count(device: &Device) -> Outcome<u32> {
    let mut arg = overlay_targ_list_t { otl_nents: 0 };
    device.ioctl_with(OVERLAY_TARG_LIST, &mut arg).map_err(text)?;
    Ok(arg.otl_nents)
}

fn info(device: &Device, id: LinkId) -> Outcome<overlay_targ_info_t> {
    let mut arg = overlay_targ_info_t::new_zeroed();
    arg.oti_linkid = id.0;
    device.ioctl_with(OVERLAY_TARG_INFO, &mut arg).map_err(text)?;
    match arg.oti_vnetid {
        n if n == VNET.0 => Ok(arg),
        n => Err(format!("virtual network {n}, not {}", VNET.0)),
    }
}

fn associate(device: &Device, id: LinkId, provides: u32, target: SocketAddr) -> Outcome<()> {
    let mut arg = overlay_targ_associate_t {
        ota_linkid: id.0,
        ota_mode: OVERLAY_TARGET_POINT,
        ota_id: INSTANCE,
        ota_provides: provides,
        ota_point: UnderlayAddr::from(target).into(),
    };
    device.ioctl_with(OVERLAY_TARG_ASSOCIATE, &mut arg).map(drop).map_err(text)
}

fn healthy(h: &Handle, id: LinkId) -> Outcome<()> {
    match overlay::status(h, id).map_err(text)? {
        overlay::Health::Online => Ok(()),
        overlay::Health::Degraded(why) => Err(why),
    }
}

/// A handle, and an answer: opening one on illumos asks nobody anything yet.
fn linked(root: &Root) -> Outcome<Handle> {
    let h = Handle::open(root).map_err(text)?;
    match h.links().by_name("smoke0") {
        Ok(_) | Err(Errno::ENOENT) => Ok(h),
        Err(e) => Err(text(e)),
    }
}

/// A link name that nobody has.
fn free_name(h: &Handle) -> Outcome<String> {
    let mut names = (0..100).map(|n| format!("smoke{n}"));
    names.find(|name| h.by_name(name).is_err()).ok_or("smoke0 to smoke99 are taken".to_owned())
}

fn receiver() -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// A UDP port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Waits for a datagram of a network with an Ethernet frame in it (RFC 7348, section 5).
fn datagram(socket: &UdpSocket, vnet: VnetId) -> Outcome<Vec<u8>> {
    let mut buf = [0; 2048];
    let n = socket.recv(&mut buf).map_err(text)?;
    let (header, frame) =
        vxlan_hdr_t::ref_from_prefix(&buf[..n]).map_err(|_| format!("{n} bytes only"))?;
    match header.vnet() {
        Some(of) if of == vnet && frame.len() >= 14 => Ok(frame.to_vec()),
        Some(of) if of == vnet => Err(format!("a frame of {} bytes", frame.len())),
        other => Err(format!("not of our network: {other:?}")),
    }
}
