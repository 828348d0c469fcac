// SPDX-License-Identifier: CDDL-1.0
//! An overlay that routes, with this program as its directory.
//!
//! ```text
//!   VNIC -- packet for the router --> overlay --LOOKUP--> "whose is this address?"   a router's
//!                                             --LOOKUP--> "where does this packet go?"
//!           UDP socket <-- VXLAN of another network, new MAC addresses, TTL one less
//! ```

use crate::{Frame, INSTANCE, Outcome, Report, Send, Smoke, VNET, datagram, receiver, text};
use devctl::{Device, OpenFlags};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, UnderlayAddr, VnetId, mapped};
use overlay_abi::target::v2::{self, About};
use overlay_abi::target::*;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The data center of the overlay, and that of the packet's destination.
const DCID: u32 = 4711;
const FAR_DCID: u32 = 4712;
/// The virtual network that packets are routed to.
const FAR_VNET: VnetId = VnetId(0x5e0bf);
const ROUTER: MacAddr = MacAddr([2, 8, 0x20, 0xff, 0xff, 2]);
const FAR_ROUTER: MacAddr = MacAddr([2, 8, 0x20, 0xff, 0xff, 3]);
const FAR: MacAddr = MacAddr([2, 8, 0x20, 0xff, 0xff, 4]);
const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 9);
const ETHER: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// How long a question may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// More entries than there are.
const ROOM: usize = 8;

/// CACHE_ITER with room for entries.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct CacheWalk(v2::overlay_targ_cache_iter_t, [v2::overlay_targ_cache_entry_t; ROOM]);

/// ROUTE_ITER with room for routes.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct RouteWalk(v2::overlay_targ_route_iter_t, [v2::overlay_targ_route_entry_t; ROOM]);

impl Smoke<'_> {
    pub(crate) fn routed(&self, report: &mut Report<'_>, id: LinkId, send: Send<'_>) {
        let name = "overlay CREATE with a data center";
        if report.check(name, self.dld.create(id, DCID)).is_none() {
            return;
        }
        self.listen(report, id);
        let socket = report.check("a socket for routed datagrams", receiver());
        let speaks = report.check("overlay ABI: version 2", speak(&self.device));
        if let (Some(socket), Some(())) = (socket, speaks) {
            self.ready(report, id, &socket, send);
        }
        report.check("overlay DELETE", self.dld.delete(id));
    }

    fn ready(&self, report: &mut Report<'_>, id: LinkId, socket: &UdpSocket, send: Send<'_>) {
        let needs = report.check("overlay INFO of version 2", info(&self.device, id));
        let associated = associate(&self.device, id, needs.unwrap_or_default());
        if report.check("overlay ASSOCIATE, dynamic", associated).is_none()
            || report.check("overlay ACTIVATE", self.dld.activate(id)).is_none()
        {
            return;
        }
        let old = Device::open(self.root, OVERLAY_DEV, OpenFlags::READ);
        let old = report.check("a second handle, which speaks version 1", old);
        self.vnic(report, id, |report, vnic| {
            let d = Directory { device: &self.device, id, socket };
            if d.first(report, &|frame| send(vnic, frame)).is_none() {
                return;
            }
            d.tables(report);
            if let Some(old) = old {
                report.check("version 1 knows no routers and no routes", beside(&old, id));
            }
            d.probe(report, &|frame| send(vnic, frame));
            d.removed(report, &|frame| send(vnic, frame));
        });
    }
}

/// What answers the overlay's questions.
struct Directory<'a> {
    device: &'a Device,
    id: LinkId,
    socket: &'a UdpSocket,
}

type Out<'a> = &'a dyn Fn(&Frame) -> Outcome<()>;

impl Directory<'_> {
    /// The first packets: two questions, and none for what is known.
    fn first(&self, report: &mut Report<'_>, out: Out<'_>) -> Option<()> {
        report.check("a packet for a router goes out of the VNIC", out(&packet(64)))?;
        let whose = self.question(|q| match q.about() {
            About::L2(l2) => l2.otl2_dstaddr == ROUTER.0,
            About::L3(_) => false,
        });
        let whose = report.check("LOOKUP asks whose address that is", whose)?;
        let router = v2::overlay_target_point_t::new_zeroed();
        report.check("RESPOND: a router's", self.respond(&whose, router))?;
        let route = report.check("LOOKUP asks where the packet goes", self.question(is_route))?;
        let to = self.socket.local_addr().map(UnderlayAddr::from).map_err(text);
        let answered = to.and_then(|to| self.respond(&route, to.into()));
        report.check("RESPOND: to another network", answered)?;
        report.check("it comes with new addresses and a TTL of 63", self.routed(63))?;
        report.check("a second packet", out(&packet(2)))?;
        report.check("goes without a question", self.routed(1))
    }

    fn tables(&self, report: &mut Report<'_>) {
        let entries = self.entries().and_then(|entries| {
            let of = |mac: MacAddr| entries.iter().find(|e| e.otce_mac.mac() == mac);
            let router = of(ROUTER).map(|e| e.otce_flags);
            let far = of(FAR).map(|e| e.otce_mac.otm_dcid);
            same(
                (entries.len(), router, far),
                (2, Some(v2::OVERLAY_TARGET_CACHE_ROUTER), Some(FAR_DCID)),
            )
        });
        report.check("CACHE_ITER tells of the router and of the far guest", entries);
        let routes = self.routes().and_then(|routes| {
            let there = mapped(IpAddr::V4(THERE));
            let route = routes.first().map(|r| (r.otre_addr.otl3_dstip, r.otre_mac.mac()));
            same((routes.len(), route), (1, Some((there, FAR))))
        });
        report.check("ROUTE_ITER tells of the route", routes);
    }

    /// A question to the router itself, of IPv6.
    fn probe(&self, report: &mut Report<'_>, out: Out<'_>) {
        let asked = out(&solicitation()).and_then(|()| {
            self.question(|q| match q.about() {
                About::L2(l2) => l2.otl2_dsttype == v2::OVERLAY_TARG_DSTTYPE_ROUTER,
                About::L3(_) => false,
            })
        });
        let refused = asked.and_then(|q| self.refuse(&q));
        report.check("a solicitation to the router is put to varpd", refused);
    }

    fn removed(&self, report: &mut Report<'_>, out: Out<'_>) {
        let mut net = v2::overlay_targ_cache_net_t::new_zeroed();
        net.otcn_linkid = self.id.0;
        let entry = &mut net.otcn_entry;
        (entry.otcne_src, entry.otcne_src_prefixlen) = (mapped(IpAddr::V4(HERE)), 96 + 24);
        (entry.otcne_dst, entry.otcne_dst_prefixlen) = (mapped(IpAddr::V4(THERE)), 96 + 24);
        let gone = self.device.ioctl_with(v2::OVERLAY_TARG_CACHE_REMOVE_NET, &mut net);
        let gone = gone.map_err(text).and_then(|_| same(self.routes()?.len(), 0));
        report.check("REMOVE_NET takes the route away", gone);
        let asked = out(&packet(64)).and_then(|()| self.question(is_route));
        let refused = asked.and_then(|q| self.refuse(&q));
        report.check("the next packet is asked about again, and refused", refused);
    }

    /// The next question of this kind; others are refused.
    fn question(
        &self,
        wanted: impl Fn(&v2::overlay_targ_lookup_t) -> bool,
    ) -> Outcome<v2::overlay_targ_lookup_t> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut q = v2::overlay_targ_lookup_t::new_zeroed();
            match self.device.ioctl_with(OVERLAY_TARG_LOOKUP, &mut q) {
                Ok(_) if wanted(&q) => return Ok(q),
                Ok(_) => self.refuse(&q)?,
                Err(Errno::ETIME) => {}
                Err(e) => return Err(text(e)),
            }
        }
        Err("not asked".to_owned())
    }

    fn respond(
        &self,
        question: &v2::overlay_targ_lookup_t,
        to: v2::overlay_target_point_t,
    ) -> Outcome<()> {
        let mut answer = v2::overlay_targ_resp_t::new_zeroed();
        answer.otr_reqid = question.otl_reqid;
        (answer.otr_route.otr_vnet, answer.otr_route.otr_srcmac) = (FAR_VNET.0, FAR_ROUTER.0);
        answer.otr_mac = v2::overlay_target_mac_t::new(FAR_DCID, FAR);
        answer.otr_answer = to;
        self.device.ioctl_with(OVERLAY_TARG_RESPOND, &mut answer).map(drop).map_err(text)
    }

    fn refuse(&self, question: &v2::overlay_targ_lookup_t) -> Outcome<()> {
        let mut answer = v2::overlay_targ_resp_t::new_zeroed();
        answer.otr_reqid = question.otl_reqid;
        self.device.ioctl_with(OVERLAY_TARG_DROP, &mut answer).map(drop).map_err(text)
    }

    /// Waits for [`packet`] as it must arrive.
    fn routed(&self, ttl: u8) -> Outcome<()> {
        let frame = datagram(self.socket, FAR_VNET)?;
        let (header, got) = frame.split_at(ETHER);
        same(header, &[&FAR.0[..], &FAR_ROUTER.0, &IPV4.to_be_bytes()].concat())?;
        same(got, &packet(ttl).payload)
    }

    fn entries(&self) -> Outcome<Vec<v2::overlay_targ_cache_entry_t>> {
        let mut walk = CacheWalk::new_zeroed();
        (walk.0.otci_linkid, walk.0.otci_count) = (self.id.0, ROOM as u16);
        self.device.ioctl_with(OVERLAY_TARG_CACHE_ITER, &mut walk).map_err(text)?;
        Ok(walk.1.into_iter().take(walk.0.otci_count.into()).collect())
    }

    fn routes(&self) -> Outcome<Vec<v2::overlay_targ_route_entry_t>> {
        let mut walk = RouteWalk::new_zeroed();
        (walk.0.otri_linkid, walk.0.otri_count) = (self.id.0, ROOM as u16);
        self.device.ioctl_with(v2::OVERLAY_TARG_ROUTE_ITER, &mut walk).map_err(text)?;
        Ok(walk.1.into_iter().take(walk.0.otri_count.into()).collect())
    }
}

fn is_route(question: &v2::overlay_targ_lookup_t) -> bool {
    let route =
        v2::overlay_targ_l3_t { otl3_srcip: mapped(HERE.into()), otl3_dstip: mapped(THERE.into()) };
    question.about() == About::L3(route)
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, want: T) -> Outcome<()> {
    if got == want { Ok(()) } else { Err(format!("{got:?}, not {want:?}")) }
}

fn speak(device: &Device) -> Outcome<()> {
    let mut version = v2::VERSION;
    device.ioctl_with(OVERLAY_TARG_ABI, &mut version).map_err(text)?;
    same(version, v2::VERSION)
}

/// The destination bits that the overlay needs.
fn info(device: &Device, id: LinkId) -> Outcome<u32> {
    let mut arg = v2::overlay_targ_info_t::new_zeroed();
    arg.oti_linkid = id.0;
    device.ioctl_with(OVERLAY_TARG_INFO, &mut arg).map_err(text)?;
    same((arg.oti_vnetid, arg.oti_dcid), (VNET.0, DCID))?;
    Ok(arg.oti_needs)
}

fn associate(device: &Device, id: LinkId, provides: u32) -> Outcome<()> {
    let mut arg = v2::overlay_targ_associate_t::new_zeroed();
    (arg.ota_linkid, arg.ota_mode) = (id.0, OVERLAY_TARGET_DYNAMIC);
    (arg.ota_id, arg.ota_provides) = (INSTANCE, provides);
    device.ioctl_with(OVERLAY_TARG_ASSOCIATE, &mut arg).map(drop).map_err(text)
}

/// What a handle of version 1 sees of all this: nothing.
fn beside(old: &Device, id: LinkId) -> Outcome<()> {
    let mut get = overlay_targ_cache_t::new_zeroed();
    get.otc_linkid = id.0;
    get.otc_entry.otce_mac = ROUTER.0;
    same(old.ioctl_with(OVERLAY_TARG_CACHE_GET, &mut get).err(), Some(Errno::ENOENT))?;
    let mut head = v2::overlay_targ_route_iter_t::new_zeroed();
    same(old.ioctl_with(v2::OVERLAY_TARG_ROUTE_ITER, &mut head).err(), Some(Errno::ENOTTY))
}

/// An IPv4 packet with 20 bytes behind its header.
fn packet(ttl: u8) -> Frame {
    let mut payload = vec![0x45, 0, 0, 40, 0x5e, 0x0b, 0, 0, ttl, 17, 0, 0];
    payload.extend([HERE.octets(), THERE.octets()].concat());
    let sum: u32 = payload.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    payload[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    payload.extend([0x5a; 20]);
    Frame { to: ROUTER.0, kind: IPV4, payload }
}

/// A neighbour solicitation to the router itself; its checksum, which is for whoever answers, is 0.
fn solicitation() -> Frame {
    let mut payload = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    for host in [5, 1] {
        payload.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    payload.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    Frame { to: ROUTER.0, kind: IPV6, payload }
}
