// SPDX-License-Identifier: CDDL-1.0
//! Routed overlays: version 2 of `/dev/overlay`, frames for routers, the route cache. The defects of
//! the original's routed form (spec/varpd.md 10) are named `s10_`.
use crate::common::*;
use fakekernel::host::UserMem;
use fakekernel::net::client::{Frame, Frames};
use fakekernel::probes;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr, mapped};
use overlay_abi::target::v2::{self, About, overlay_targ_l3_t};
use overlay_abi::target::*;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use zerocopy::{FromZeros, IntoBytes};

pub const ROUTER: [u8; 6] = [2, 8, 0x20, 0xff, 0, 1];
const FAR_ROUTER: [u8; 6] = [2, 8, 0x20, 0xff, 0, 2];
/// The network that frames are routed to.
pub const OTHER: u64 = 0x777;
const DCID: u32 = 0;

/// A handle that speaks version 2.
pub struct V2<'a>(&'a Varpd);

/// An answer about a route.
#[derive(Clone, Copy)]
pub struct Hop {
    pub vnet: u64,
    pub vlan: u16,
    pub mac: [u8; 6],
    pub dcid: u32,
}

pub const HOP: Hop = Hop { vnet: OTHER, vlan: 0, mac: FAR, dcid: DCID };

impl<'a> V2<'a> {
    pub fn speak(varpd: &'a Varpd) -> V2<'a> {
        let mut version = 2u32;
        varpd.call(OVERLAY_TARG_ABI, &mut version).unwrap();
        assert_eq!(version, 2);
        V2(varpd)
    }

    pub fn lookup(&self) -> Result<v2::overlay_targ_lookup_t, Errno> {
        let mut a = v2::overlay_targ_lookup_t::new_zeroed();
        self.0.call(OVERLAY_TARG_LOOKUP, &mut a).map(|()| a)
    }

    /// A question about a route: its id, VLAN and addresses.
    pub fn asked(&self) -> (u64, u16, IpAddr, IpAddr) {
        let a = self.lookup().expect("a question");
        let About::L3(l3) = a.about() else { panic!("about no route: {a:?}") };
        let ip = overlay_abi::ids::unmapped;
        (a.otl_reqid, a.otl_vlan as u16, ip(l3.otl3_srcip), ip(l3.otl3_dstip))
    }

    pub fn answer(&self, reqid: u64, hop: Hop, to: SocketAddr) -> Result<(), Errno> {
        let mut a = v2::overlay_targ_resp_t::new_zeroed();
        a.otr_reqid = reqid;
        a.otr_route.otr_vnet = hop.vnet;
        a.otr_route.otr_vlan = hop.vlan;
        a.otr_route.otr_srcmac = FAR_ROUTER;
        a.otr_mac = v2::overlay_target_mac_t::new(hop.dcid, MacAddr(hop.mac));
        a.otr_answer = UnderlayAddr::from(to).into();
        self.0.call(OVERLAY_TARG_RESPOND, &mut a)
    }

    pub fn refuse(&self, reqid: u64) -> Result<(), Errno> {
        let mut a = v2::overlay_targ_resp_t::new_zeroed();
        a.otr_reqid = reqid;
        self.0.call(OVERLAY_TARG_DROP, &mut a)
    }

    fn cache(
        &self,
        cmd: u32,
        (dcid, mac): (u32, [u8; 6]),
        flags: u16,
        to: Option<SocketAddr>,
    ) -> Result<v2::overlay_targ_cache_entry_t, Errno> {
        let mut a = v2::overlay_targ_cache_t::new_zeroed();
        a.otc_linkid = LINK;
        a.otc_entry.otce_mac = v2::overlay_target_mac_t::new(dcid, MacAddr(mac));
        a.otc_entry.otce_flags = flags;
        if let Some(to) = to {
            a.otc_entry.otce_dest = UnderlayAddr::from(to).into();
        }
        self.0.call(cmd, &mut a).map(|()| a.otc_entry)
    }

    pub fn set(
        &self,
        guest: (u32, [u8; 6]),
        flags: u16,
        to: Option<SocketAddr>,
    ) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_SET, guest, flags, to).map(drop)
    }

    fn get(&self, dcid: u32, mac: [u8; 6]) -> Result<v2::overlay_targ_cache_entry_t, Errno> {
        self.cache(OVERLAY_TARG_CACHE_GET, (dcid, mac), 0, None)
    }

    pub fn remove(&self, dcid: u32, mac: [u8; 6]) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_REMOVE, (dcid, mac), 0, None).map(drop)
    }

    /// Makes [`ROUTER`] a router.
    pub fn router(&self) {
        self.set((0, ROUTER), v2::OVERLAY_TARGET_CACHE_ROUTER, None).unwrap();
    }

    pub fn remove_net(&self, vlan: u16, src: (&str, u8), dst: (&str, u8)) -> Result<(), Errno> {
        let mut a = v2::overlay_targ_cache_net_t::new_zeroed();
        a.otcn_linkid = LINK;
        a.otcn_entry.otcne_vlan = vlan;
        (a.otcn_entry.otcne_src, a.otcn_entry.otcne_src_prefixlen) = (mapped(ip(src.0)), src.1);
        (a.otcn_entry.otcne_dst, a.otcn_entry.otcne_dst_prefixlen) = (mapped(ip(dst.0)), dst.1);
        self.0.call(v2::OVERLAY_TARG_CACHE_REMOVE_NET, &mut a)
    }

    fn walk(&self, n: u16) -> Vec<v2::overlay_targ_cache_entry_t> {
        #[repr(C)]
        struct Arg(v2::overlay_targ_cache_iter_t, [v2::overlay_targ_cache_entry_t; 500]);
        let mut all = Vec::new();
        let mut marker = [0; 2];
        loop {
            let entry = v2::overlay_targ_cache_entry_t::new_zeroed();
            let mut a = Box::new(Arg(FromZeros::new_zeroed(), [entry; 500]));
            (a.0.otci_linkid, a.0.otci_count, a.0.otci_marker) = (LINK, n, marker);
            self.0.raw(OVERLAY_TARG_CACHE_ITER, &raw mut *a as u64).unwrap();
            marker = a.0.otci_marker;
            match a.0.otci_count {
                0 => return all,
                n => all.extend_from_slice(&a.1[..n.into()]),
            }
        }
    }

    fn routes(&self, n: u16) -> Vec<v2::overlay_targ_route_entry_t> {
        #[repr(C)]
        struct Arg(v2::overlay_targ_route_iter_t, [v2::overlay_targ_route_entry_t; 500]);
        let mut all = Vec::new();
        let mut head = v2::overlay_targ_route_iter_t::new_zeroed();
        head.otri_linkid = LINK;
        loop {
            head.otri_count = n;
            let mut a = Box::new(Arg(head, [FromZeros::new_zeroed(); 500]));
            self.0.raw(v2::OVERLAY_TARG_ROUTE_ITER, &raw mut *a as u64).unwrap();
            head = a.0;
            match head.otri_count {
                0 => return all,
                n => all.extend_from_slice(&a.1[..n.into()]),
            }
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The sum of RFC 1071 over an IPv4 header, 0 when its checksum is right.
fn sum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// An IP packet with 20 bytes behind its header.
pub fn packet(src: &str, dst: &str, ttl: u8, id: u16) -> Vec<u8> {
    let mut p = match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [i0, i1] = id.to_be_bytes();
            let mut p = vec![0x45, 0, 0, 40, i0, i1, 0, 0, ttl, 17, 0, 0];
            p.extend(src.octets());
            p.extend(dst.octets());
            let c = sum(&p);
            p[10..12].copy_from_slice(&c.to_be_bytes());
            p
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut p = vec![0x60, 0, 0, 0, 0, 20, 17, ttl];
            p.extend(src.octets());
            p.extend(dst.octets());
            p
        }
        _ => panic!("of one family"),
    };
    p.extend((0..20).map(|n| n as u8 ^ id as u8));
    p
}

/// A frame around a packet; `tci` for a tagged one.
pub fn ether(dst: [u8; 6], src: [u8; 6], tci: Option<u16>, packet: &[u8]) -> Vec<u8> {
    let mut f = [dst, src].concat();
    if let Some(tci) = tci {
        f.extend([0x81, 0]);
        f.extend(tci.to_be_bytes());
    }
    f.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
    f.extend(packet);
    f
}

/// A frame of the guest's for the router.
pub fn outgoing(src: &str, dst: &str, id: u16) -> Vec<u8> {
    ether(ROUTER, GUEST, None, &packet(src, dst, 64, id))
}

/// What becomes of [`outgoing`] with [`HOP`].
pub fn routed(src: &str, dst: &str, id: u16) -> Vec<u8> {
    ether(FAR, FAR_ROUTER, None, &packet(src, dst, 63, id))
}

pub const A: &str = "10.0.1.5";
pub const B: &str = "10.0.2.9";

#[test]
fn handles_speak_their_version_side_by_side() {
    let rig = Rig::boot();
    let (varpd, reader) = (rig.varpd(), rig.open_overlay(FREAD).unwrap());
    let encap = overlay_abi::to_c_name("vxlan").unwrap();
    rig.create_dcid(LINK, VNET, &encap, 4711).unwrap();
    let ask = |v: &Varpd, wanted: u32| {
        let mut version = wanted;
        v.call(OVERLAY_TARG_ABI, &mut version).map(|()| version)
    };
    assert_eq!(ask(&varpd, 0), Err(Errno::EINVAL));
    assert_eq!(ask(&varpd, 1), Ok(1));
    assert_eq!(varpd.info(LINK).unwrap().oti_vnetid, VNET, "still version 1");
    assert_eq!(ask(&varpd, 3), Ok(2), "the highest there is");
    let mut info = v2::overlay_targ_info_t::new_zeroed();
    info.oti_linkid = LINK;
    varpd.call(OVERLAY_TARG_INFO, &mut info).unwrap();
    assert_eq!((info.oti_vnetid, info.oti_dcid, info.oti_needs), (VNET, 4711, 6));
    assert_eq!(rig.get(LINK, "dcid").unwrap(), 4711u32.to_ne_bytes());
    assert_eq!(rig.set(LINK, "dcid", &1u64.to_ne_bytes()), Err(Errno::EPERM));
    varpd.dynamic_v2(LINK).unwrap();
    V2(&varpd).set((0, FAR), 0, Some(addr(2).into())).unwrap();
    // The other handle reads the same cache in its own form, and has no routes.
    assert_eq!(
        reader.cache_get(LINK, FAR).unwrap().otce_dest.underlay(),
        UnderlayAddr::from(SocketAddr::from(addr(2)))
    );
    assert_eq!(reader.raw(v2::OVERLAY_TARG_ROUTE_ITER, 8), Err(Errno::ENOTTY));
    assert_eq!(ask(&reader, 2), Ok(2));
    assert_eq!(
        V2(&reader).get(4711, FAR).unwrap().otce_dest.underlay(),
        UnderlayAddr::from(SocketAddr::from(addr(2)))
    );
    drop(varpd);
    // A new handle begins with version 1.
    let varpd = rig.varpd();
    assert_eq!(varpd.cache_walk(LINK, 9).unwrap().len(), 1);
    drop((varpd, reader));
    rig.delete(LINK).unwrap();
    rig.end();
}

/// Defective: only tagged frames are routed. And every frame is changed in its header only, wherever
/// it is cut into blocks.
#[test]
fn s10_tagged_and_untagged_frames_are_rewritten_in_any_blocks() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let mut id = 0;
    for (a, b) in [(A, B), ("fd00:1::5", "fd00:2::9")] {
        for tci in [None, Some(5), Some(0xe007), Some(0x3000)] {
            let vlan = tci.map_or(0, |t| t & 0xfff);
            for to in [0, 9, 4094] {
                let route =
                    overlay_targ_l3_t { otl3_srcip: mapped(ip(a)), otl3_dstip: mapped(ip(b)) };
                let mut asked = false;
                let len = ether(ROUTER, GUEST, tci, &packet(a, b, 64, 0)).len();
                // MAC wants the Ethernet header in one block.
                let l2 = if tci.is_some() { 18 } else { 14 };
                for cut in (l2..len).step_by(if to == 9 { 1 } else { 7 }) {
                    id += 1;
                    let frame = ether(ROUTER, GUEST, tci, &packet(a, b, (id % 254) as u8 + 2, id));
                    let (x, rest) = frame.split_at(cut);
                    let (y, z) = rest.split_at(rest.len() / 3);
                    let blocks = Frame::from_blocks(&[x, y, z]).unwrap();
                    assert!(s.guest.client.tx(Frames::from(blocks)).is_ok());
                    if !asked {
                        let l = v2.lookup().unwrap();
                        assert_eq!((l.about(), l.otl_vlan), (About::L3(route), vlan.into()));
                        assert_eq!((l.otl_hdrsize + l.otl_pktsize) as usize, len);
                        assert_eq!(l.otl_hdrsize, l2 as u64);
                        v2.answer(l.otl_reqid, Hop { vlan: to, ..HOP }, s.peer.at()).unwrap();
                        asked = true;
                    }
                    let priority = tci.unwrap_or(0) & 0xf000;
                    let tci = (to != 0).then_some(priority | to);
                    let expected =
                        ether(FAR, FAR_ROUTER, tci, &packet(a, b, (id % 254) as u8 + 1, id));
                    assert_eq!(s.peer.frame(OTHER), expected, "cut at {cut} of {len}");
                }
                v2.remove_net(vlan, (a, 128), (b, 128)).unwrap();
            }
        }
    }
    let k = stats(LINK);
    assert_eq!((k["orouted"], k["opackets"]), (u64::from(id), u64::from(id)));
    s.end();
}

/// Defective: packets are routed for ever, for nothing counts them down.
#[test]
fn s10_expired_packets_are_dropped_before_anybody_is_asked() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    for ttl in [0, 1] {
        s.guest.send(&ether(ROUTER, GUEST, None, &packet(A, B, ttl, 1)));
        s.guest.send(&ether(ROUTER, GUEST, None, &packet("fd00::1", "fd00::2", ttl, 1)));
    }
    let k = stats(LINK);
    assert_eq!((k["drop_tx_ttl"], k["lookups_outstanding"], k["route_entries"]), (4, 0, 0));
    s.guest.send(&ether(ROUTER, GUEST, None, &packet(A, B, 2, 1)));
    v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(OTHER)[22], 1);
    s.end();
}

/// Defective: the kernel asserts what version a guest's packet has.
#[test]
fn s10_what_is_no_ip_packet_between_hosts_is_not_routed() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let good = outgoing(A, B, 1);
    let mut bad = Vec::new();
    for first in [0x00, 0x44, 0x4f, 0x55, 0x65, 0xff] {
        let mut f = good.clone();
        f[14] = first;
        bad.push(f);
    }
    // Shorter than it says, and shorter than its header says.
    bad.extend((14..good.len()).map(|n| good[..n].to_vec()));
    for (a, b) in [
        ("0.0.0.0", B),
        (A, "255.255.255.255"),
        (A, "224.0.0.5"),
        ("127.0.0.1", B),
        (A, "169.254.1.1"),
        ("fe80::1", "fd00::1"),
        ("fd00::1", "ff05::2"),
        ("::", "fd00::1"),
        ("fd00::1", "::1"),
    ] {
        bad.push(outgoing(a, b, 2));
    }
    // IPv6 with a v4-mapped address, which is not the IPv4 packet that it looks like.
    let mut f = ether(ROUTER, GUEST, None, &packet("fd00::1", "fd00::2", 64, 1));
    f[14 + 8..14 + 24].copy_from_slice(&mapped(ip(A)));
    f[14 + 24..14 + 40].copy_from_slice(&mapped(ip(B)));
    bad.push(f);
    bad.push(frame(ROUTER, GUEST, 1, 60));
    let n = bad.len() as u64;
    bad.iter().for_each(|f| s.guest.send(f));
    let k = stats(LINK);
    assert_eq!((k["drop_tx_not_routable"], k["lookups_outstanding"]), (n, 0));
    s.end();
}

/// Any bytes for a router, from a guest that means ill.
#[test]
fn hostile_frames_for_a_router() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let mut x = 0x9e37_79b9_u64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let seeds =
        [outgoing(A, B, 1), ether(ROUTER, GUEST, Some(7), &packet("fd00::1", "fd00::2", 64, 1))];
    for n in 0..3000 {
        let mut f = seeds[n % 2].clone();
        for _ in 0..random() % 4 {
            let at = 12 + random() as usize % (f.len() - 12);
            f[at] = random() as u8;
        }
        f.truncate(14 + random() as usize % (f.len() - 13));
        let cut = 14 + random() as usize % (f.len() - 13);
        let (x, y) = f.split_at(cut.min(f.len()));
        let blocks = Frame::from_blocks(&[x, y]).unwrap();
        assert!(s.guest.client.tx(Frames::from(blocks)).is_ok());
        if stats(LINK)["lookups_outstanding"] > 8 {
            let id = v2.lookup().unwrap().otl_reqid;
            if n % 3 == 0 {
                v2.refuse(id).unwrap()
            } else {
                v2.answer(id, HOP, s.peer.at()).unwrap()
            }
        }
    }
    s.end();
}

/// Defective: GET and SET take 0 for a data center that is not there; ROUTER together with DROP.
#[test]
fn s10_data_center_0_is_the_links_own() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    let at = s.peer.at();
    v2.set((0, FAR), 0, Some(at)).unwrap();
    assert_eq!(v2.get(0, FAR).unwrap().otce_dest.underlay(), at.into());
    assert_eq!(v2.get(9, FAR), Err(Errno::ENOENT));
    v2.set((9, FAR), 0, Some(addr(3).into())).unwrap();
    assert_eq!(
        v2.get(9, FAR).unwrap().otce_dest.underlay(),
        UnderlayAddr::from(SocketAddr::from(addr(3)))
    );
    // The guests' own frames know nothing of other data centers.
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 1, 60));
    for flags in [3, 4, 0x8000] {
        assert_eq!(v2.set((0, FAR), flags, Some(at)), Err(Errno::EINVAL), "{flags:#x}");
    }
    assert_eq!(v2.walk(1).len(), 2);
    assert_eq!(v2.remove(0, FAR), Ok(()));
    assert_eq!(v2.get(0, FAR), Err(Errno::ENOENT));
    assert_eq!(v2.remove(0, FAR), Err(Errno::ENOENT));
    assert_eq!(v2.remove(9, FAR), Ok(()));
    s.end();
}

/// Defective: a walk never tells of routers nor of routes.
#[test]
fn s10_walks_tell_of_routers_and_routes() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    v2.set((0, FAR), OVERLAY_TARGET_CACHE_DROP, None).unwrap();
    for n in 0..7u8 {
        s.guest.send(&outgoing(&format!("10.0.{}.1", n % 3), &format!("10.9.0.{n}"), 1));
        let mac = [2, 0, 0, 0, 0, n];
        v2.answer(v2.asked().0, Hop { mac, dcid: 9, vlan: 3, ..HOP }, s.peer.at()).unwrap();
    }
    let entries = v2.walk(2);
    assert_eq!(entries.len(), 2 + 7);
    let flags =
        |mac| entries.iter().find(|e| e.otce_mac.mac() == MacAddr(mac)).map(|e| e.otce_flags);
    assert_eq!(flags(ROUTER), Some(v2::OVERLAY_TARGET_CACHE_ROUTER));
    assert_eq!(flags(FAR), Some(OVERLAY_TARGET_CACHE_DROP));
    assert!(entries[2..].iter().all(|e| e.otce_mac.otm_dcid == 9));
    // Version 1 has no word for a router, and knows no other networks.
    let reader = s.rig.open_overlay(FREAD).unwrap();
    assert_eq!(reader.cache_walk(LINK, 1).unwrap().len(), 1);
    assert_eq!(reader.cache_get(LINK, ROUTER).err(), Some(Errno::ENOENT));
    let routes = v2.routes(3);
    assert_eq!(routes.len(), 7);
    assert!(routes.is_sorted_by_key(|r| (r.otre_addr.otl3_srcip, r.otre_addr.otl3_dstip)));
    for r in routes {
        assert_eq!((r.otre_route.otr_vnet, r.otre_route.otr_vlan), (OTHER, 3));
        assert_eq!(r.otre_route.otr_srcmac, FAR_ROUTER);
        let n = r.otre_addr.otl3_dstip[15];
        assert_eq!(r.otre_mac, v2::overlay_target_mac_t::new(9, MacAddr([2, 0, 0, 0, 0, n])));
        assert_eq!(r.otre_dest.underlay(), s.peer.at().into());
    }
    drop(reader);
    s.end();
}

/// Defective: route_cache_size refuses every number but 0.
#[test]
fn s10_cache_sizes_can_be_set_while_active() {
    let s = Scene::dynamic();
    let set = |name: &str, n: u64| s.rig.set(LINK, name, &n.to_ne_bytes());
    let get = |name: &str| u32::from_ne_bytes(s.rig.get(LINK, name).unwrap().try_into().unwrap());
    for (name, default) in [("vl2_cache_size", 1_048_576), ("route_cache_size", 65_536)] {
        for (n, result) in [
            (255, Err(Errno::EINVAL)),
            (256, Ok(())),
            (10_240, Ok(())),
            (4_194_305, Err(Errno::EINVAL)),
            (1 << 32, Err(Errno::EINVAL)),
        ] {
            assert_eq!(set(name, n), result, "{name} {n}");
        }
        assert_eq!(get(name), 10_240);
        assert_eq!(s.rig.set(LINK, name, &256u32.to_ne_bytes()), Err(Errno::EINVAL), "8 bytes");
        assert_eq!(set(name, 0), Ok(()));
        assert_eq!(get(name), default);
    }
    for name in ["_vl2_cache_a", "_route_cache_a"] {
        assert_eq!((get(name), set(name, 101)), (75, Err(Errno::EINVAL)));
        assert_eq!((set(name, 100), set(name, 0), get(name)), (Ok(()), Ok(()), 0));
    }
    // A smaller size holds at once.
    for n in 0..1000u16 {
        let [a, b] = n.to_be_bytes();
        s.varpd.cache_set(LINK, [2, 0, 0, 0, a, b], s.peer.at()).unwrap();
    }
    assert_eq!(stats(LINK)["cache_entries"], 1000);
    set("vl2_cache_size", 300).unwrap();
    let k = stats(LINK);
    assert_eq!((k["cache_entries"], k["cache_evictions"]), (300, 700));
    s.end();
}

#[test]
fn a_route_whose_mac_entry_goes_is_asked_again() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let hop = Hop { dcid: 9, ..HOP };
    for (n, go) in [
        (&|| v2.remove(9, FAR).unwrap()) as &dyn Fn(),
        &|| s.varpd.cache_flush_v2(LINK),
        &|| v2.remove_net(0, (A, 128), (B, 128)).unwrap(),
        // Set by hand in the link's own network: whether that is the guest varpd alone knows.
        &|| v2.set((9, FAR), 0, Some(addr(3).into())).unwrap(),
    ]
    .iter()
    .enumerate()
    {
        let n = n as u16;
        if n == 2 {
            v2.router();
        }
        s.guest.send(&outgoing(A, B, n));
        v2.answer(v2.asked().0, hop, s.peer.at()).unwrap();
        assert_eq!(s.peer.frame(OTHER), routed(A, B, n));
        go();
        if n == 1 {
            v2.router();
        }
        s.guest.send(&outgoing(A, B, n + 100));
        s.peer.nothing();
        v2.answer(v2.asked().0, hop, s.peer.at()).unwrap();
        assert_eq!(s.peer.frame(OTHER), routed(A, B, n + 100), "after {n}");
        v2.remove_net(0, (A, 128), (B, 128)).unwrap();
    }
    s.end();
}

/// A guest moves: all routes to it follow with one answer.
#[test]
fn a_place_is_known_once_for_all_routes() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let elsewhere = Peer::bind(addr(3));
    for src in ["10.0.1.1", "10.0.1.2"] {
        s.guest.send(&outgoing(src, B, 1));
        v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
        s.peer.frame(OTHER);
    }
    v2.remove(0, FAR).unwrap();
    s.guest.send(&outgoing("10.0.1.1", B, 2));
    v2.answer(v2.asked().0, HOP, elsewhere.at()).unwrap();
    assert_eq!(elsewhere.frame(OTHER), routed("10.0.1.1", B, 2));
    s.guest.send(&outgoing("10.0.1.2", B, 3));
    assert_eq!(elsewhere.frame(OTHER), routed("10.0.1.2", B, 3), "nobody had to be asked");
    s.end();
}

/// Defective: entries are told apart by data center and MAC address only, so that guests of two
/// networks that have the same address get each other's frames.
#[test]
fn s10_equal_addresses_in_two_networks_are_two_guests() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let (own, other) = (Peer::bind(addr(3)), &s.peer);
    v2.set((0, FAR), 0, Some(own.at())).unwrap();
    s.guest.send(&outgoing(A, B, 1));
    v2.answer(v2.asked().0, HOP, other.at()).unwrap();
    assert_eq!(other.frame(OTHER), routed(A, B, 1));
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    assert_eq!(own.frame(VNET), frame(FAR, GUEST, 1, 60));
    s.guest.send(&outgoing(A, B, 2));
    assert_eq!(other.frame(OTHER), routed(A, B, 2));
    own.nothing();
    s.end();
}

/// Packets that wait for a route obey the rules of those that wait for an address.
#[test]
fn packets_wait_for_a_route_in_order_and_bounded() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let len = outgoing(A, B, 0).len();
    let fit = (128 * 1024 / len) as u16;
    for n in 0..fit + 10 {
        s.guest.send(&outgoing(A, B, n));
    }
    let k = stats(LINK);
    assert_eq!((k["drop_tx_queue_full"], k["route_misses"]), (10, u64::from(fit) + 10));
    assert_eq!((k["queued_packets"], k["lookups_outstanding"]), (u64::from(fit), 1));
    // Each DROP costs one packet, and the rest is asked for again.
    let (id, ..) = v2.asked();
    v2.refuse(id).unwrap();
    assert_eq!(v2.refuse(id), Err(Errno::EINVAL));
    let (id, ..) = v2.asked();
    v2.answer(id, HOP, s.peer.at()).unwrap();
    for n in 1..fit {
        assert_eq!(s.peer.frame(OTHER), routed(A, B, n));
    }
    assert_eq!(stats(LINK)["queued_bytes"], 0);
    // The last one refused takes the entry along.
    s.guest.send(&outgoing(B, A, 1));
    v2.refuse(v2.asked().0).unwrap();
    assert_eq!((stats(LINK)["route_entries"], stats(LINK)["drop_lookup_drop"]), (1, 2));
    s.end();
}

/// Defective: the answer to a route whose place is known already frees a spare entry twice.
#[test]
fn s10_answers_to_routes_are_checked_and_may_meet_a_known_place() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let at = s.peer.at();
    let none: SocketAddr = "[::]:0".parse().unwrap();
    for (hop, to) in [
        (Hop { vnet: 1 << 24, ..HOP }, at),
        (Hop { vlan: 4095, ..HOP }, at),
        (Hop { vlan: 0x1005, ..HOP }, at),
        (Hop { mac: [0xff; 6], ..HOP }, at),
        (HOP, none),
        (HOP, "192.0.2.1:0".parse().unwrap()),
    ] {
        s.guest.send(&outgoing(A, B, 1));
        let (id, ..) = v2.asked();
        assert_eq!(v2.answer(id, hop, to), Err(Errno::EINVAL));
        assert_eq!(v2.answer(id, HOP, at), Err(Errno::EINVAL), "it is over all the same");
    }
    assert_eq!(stats(LINK)["route_entries"], 0);
    v2.set((9, FAR), 0, Some(addr(3).into())).unwrap();
    for (n, vnet) in [(0u16, VNET), (1, OTHER), (2, VNET), (3, OTHER)] {
        s.guest.send(&outgoing(A, &format!("10.0.3.{n}"), n));
        v2.answer(v2.asked().0, Hop { vnet, dcid: 9, ..HOP }, at).unwrap();
        assert_eq!(s.peer.frame(vnet), routed(A, &format!("10.0.3.{n}"), n));
    }
    assert_eq!(v2.get(9, FAR).unwrap().otce_dest.underlay(), at.into());
    // A route within the link's own network shares its entry with frames that are switched.
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    let l = v2.lookup().unwrap();
    assert!(matches!(l.about(), About::L2(l2) if l2.otl2_dstaddr == FAR));
    s.guest.send(&outgoing(A, B, 7));
    v2.answer(v2.asked().0, Hop { vnet: VNET, ..HOP }, at).unwrap();
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 1, 60), "that answered both");
    assert_eq!(s.peer.frame(VNET), routed(A, B, 7));
    assert_eq!(v2.refuse(l.otl_reqid), Err(Errno::EINVAL));
    s.end();
}

/// A guest's unicast question to its router is asked each time: nobody answers it here.
#[test]
fn arp_for_a_router_goes_to_varpd() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let mut arp = frame(ROUTER, GUEST, 1, 60);
    arp[12..14].copy_from_slice(&[8, 6]);
    for n in 0..3 {
        s.guest.send(&arp);
        let l = v2.lookup().unwrap();
        let About::L2(l2) = l.about() else { panic!("{l:?}") };
        assert_eq!((l2.otl2_dstaddr, l2.otl2_sap), (ROUTER, 0x806));
        assert_eq!(l2.otl2_dsttype, v2::OVERLAY_TARG_DSTTYPE_ROUTER);
        assert_eq!(s.varpd.packet(l.otl_reqid, 60).unwrap(), arp);
        if n == 1 {
            v2.answer(l.otl_reqid, HOP, s.peer.at()).unwrap();
        } else {
            v2.refuse(l.otl_reqid).unwrap();
        }
    }
    let k = stats(LINK);
    assert_eq!((k["cache_entries"], k["drop_lookup_drop"]), (1, 3), "the router, no more");
    s.end();
}

/// As of ARP: a guest makes sure that its router is still there by asking it alone.
#[test]
fn solicitations_for_a_router_go_to_varpd() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    for (n, (src, dst)) in
        [("fd00:1::5", "fd00:1::1"), ("fe80::5", "fe80::1"), ("fe80::5", "fd00:1::1")]
            .into_iter()
            .enumerate()
    {
        let mut ip = packet(src, dst, 255, 1);
        (ip[6], ip[40]) = (58, 135);
        for tci in [None, Some(0x6007)] {
            let asked = ether(ROUTER, GUEST, tci, &ip);
            for cut in 14..asked.len() {
                let (x, y) = asked.split_at(cut.max(if tci.is_some() { 18 } else { 14 }));
                let blocks = Frame::from_blocks(&[x, y]).unwrap();
                assert!(s.guest.client.tx(Frames::from(blocks)).is_ok());
                let l = v2.lookup().unwrap();
                let About::L2(l2) = l.about() else { panic!("{n}, cut at {cut}: {l:?}") };
                assert_eq!((l2.otl2_dstaddr, l2.otl2_sap), (ROUTER, 0x86dd));
                assert_eq!(l2.otl2_dsttype, v2::OVERLAY_TARG_DSTTYPE_ROUTER);
                assert_eq!(s.varpd.packet(l.otl_reqid, 200).unwrap(), asked);
                v2.refuse(l.otl_reqid).unwrap();
            }
        }
        // What came through a router, what is something else, and what is not all there.
        let edits: [fn(&mut Vec<u8>); 4] = [
            |ip| ip[7] = 254,
            |ip| ip[6] = 17,
            |ip| ip[40] = 136,
            |ip| {
                ip.truncate(40);
                ip[5] = 0;
            },
        ];
        for edit in edits {
            let mut ip = ip.clone();
            edit(&mut ip);
            s.guest.send(&ether(ROUTER, GUEST, None, &ip));
            if n == 0 {
                v2.refuse(v2.asked().0).unwrap();
            }
        }
    }
    let k = stats(LINK);
    assert_eq!((k["lookups_outstanding"], k["cache_entries"], k["route_entries"]), (0, 1, 0));
    assert_eq!(k["drop_tx_not_routable"], 8);
    s.end();
}

/// An address that turns out to be a router's: what waited for it is forwarded.
#[test]
fn an_answer_may_say_that_it_is_a_router() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    for n in 0..3 {
        s.guest.send(&outgoing(A, B, n));
    }
    let l = v2.lookup().unwrap();
    assert!(matches!(l.about(), About::L2(l2) if l2.otl2_dstaddr == ROUTER));
    v2.answer(l.otl_reqid, HOP, "[::]:0".parse().unwrap()).unwrap();
    assert_eq!(v2.get(0, ROUTER).unwrap().otce_flags, v2::OVERLAY_TARGET_CACHE_ROUTER);
    v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
    for n in 0..3 {
        assert_eq!(s.peer.frame(OTHER), routed(A, B, n));
    }
    s.end();
}

/// varpd dies and an older one comes: it is not asked what it cannot understand.
#[test]
fn version_1_is_not_asked_about_routes() {
    let s = Scene::dynamic();
    V2::speak(&s.varpd).router();
    s.guest.send(&outgoing(A, B, 1));
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    let Scene { rig, varpd, guest, peer, at } = s;
    drop(varpd);
    let varpd = rig.varpd();
    let l = varpd.lookup().unwrap();
    assert_eq!(l.otl_dstaddr, FAR);
    varpd.respond(l.otl_reqid, peer.at()).unwrap();
    assert_eq!(peer.frame(VNET), frame(FAR, GUEST, 1, 60));
    assert_eq!(varpd.lookup().err(), Some(Errno::ETIME));
    let k = stats(LINK);
    assert_eq!((k["drop_lookup_drop"], k["route_entries"]), (1, 0));
    // Zero is no router's address in its words.
    guest.send(&frame([2, 0, 0, 0, 0, 9], GUEST, 1, 60));
    let id = varpd.lookup().unwrap().otl_reqid;
    let none: SocketAddr = "[::]:0".parse().unwrap();
    assert_eq!(varpd.respond(id, none), Err(Errno::EINVAL));
    Scene { rig, varpd, guest, peer, at }.end();
}

/// Sets a route for each pair without a guest's frame: the frame is sent and answered.
pub fn fill(s: &Scene, v2: &V2<'_>, pairs: impl Iterator<Item = (String, String)>) {
    for (n, (src, dst)) in pairs.enumerate() {
        s.guest.send(&outgoing(&src, &dst, n as u16));
        let (id, _, a, b) = v2.asked();
        assert_eq!((a, b), (ip(&src), ip(&dst)));
        v2.answer(id, HOP, s.peer.at()).unwrap();
        s.peer.frame(OTHER);
    }
}

#[test]
fn remove_net_forgets_what_is_in_both_prefixes_and_looks_at_no_more_than_the_source() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let pairs = (0..3).flat_map(|a| {
        (0..40).flat_map(move |h| {
            (0..2).map(move |b| (format!("10.0.{a}.{}", h + 1), format!("10.7.{b}.{}", h + 1)))
        })
    });
    fill(&s, &v2, pairs);
    assert_eq!(stats(LINK)["route_entries"], 240);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let _armed = probes::arm(
        "overlay-route-flush",
        Arc::new(move |a: &[usize]| sink.lock().unwrap().push((a[1], a[2]))),
    )
    .unwrap();
    let all = ("::", 0);
    for (vlan, src, dst, result) in [
        (5, all, all, (0, 0)),
        (0, ("10.9.0.0", 112), all, (0, 0)),
        (0, ("10.0.1.0", 120), ("10.8.0.0", 112), (80, 0)),
        (0, ("10.0.1.0", 120), ("10.7.1.0", 120), (80, 40)),
        (0, ("10.0.1.0", 120), ("10.7.0.0", 112), (40, 40)),
        (0, ("10.0.2.7", 128), ("10.7.1.7", 128), (1, 1)),
        (0, ("10.0.2.4", 126), all, (7, 7)),
        (0, all, all, (152, 152)),
    ] {
        v2.remove_net(vlan, src, dst).unwrap();
        assert_eq!(seen.lock().unwrap().pop(), Some(result), "{vlan} {src:?} {dst:?}");
    }
    assert_eq!(stats(LINK)["route_entries"], 0);
    assert_eq!(v2.remove_net(0, (A, 129), (B, 128)), Err(Errno::EINVAL));
    s.end();
}

/// The answer to what was asked before routes went may be one that just went: it is not taken.
#[test]
fn remove_net_asks_anew_what_is_being_asked() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    s.guest.send(&outgoing(A, B, 1));
    let (old, ..) = v2.asked();
    v2.remove_net(0, ("10.0.1.0", 120), ("10.0.2.0", 120)).unwrap();
    assert_eq!(v2.answer(old, HOP, s.peer.at()), Err(Errno::EINVAL));
    s.peer.nothing();
    let (new, ..) = v2.asked();
    v2.refuse(new).unwrap();
    assert_eq!(stats(LINK)["route_entries"], 0);
    s.end();
}

/// 65 536 addresses are tried once each, while 64 routes are in use.
#[test]
fn a_scan_of_a_16_leaves_the_hot_routes() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    s.rig.set(LINK, "route_cache_size", &1024u64.to_ne_bytes()).unwrap();
    let hot = |n: u32| format!("10.1.0.{}", n + 1);
    fill(&s, &v2, (0..64).map(|n| (A.to_string(), hot(n))));
    for n in 0..65_536u32 {
        let [_, _, x, y] = n.to_be_bytes();
        s.guest.send(&outgoing(A, &format!("10.200.{x}.{y}"), n as u16));
        v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
        s.peer.recv();
        if n % 8 == 0 {
            s.guest.send(&outgoing(A, &hot(n / 8 % 64), n as u16));
            assert_eq!(s.peer.frame(OTHER), routed(A, &hot(n / 8 % 64), n as u16), "step {n}");
        }
    }
    let k = stats(LINK);
    assert_eq!((k["route_entries"], k["lookups_outstanding"]), (1024, 0));
    assert_eq!(k["route_evictions"], 65_536 + 64 - 1024);
    s.end();
}

/// Hazard: a program of 32 bits has 28 bytes for INFO, and behind them may be nothing.
#[test]
fn s10_programs_of_32_bits_have_their_forms() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let mem: &dyn UserMem = &fakekernel::host::SelfMem;
    let page = Page::new();
    let mut info = v2::ilp32::overlay_targ_info_t::new_zeroed();
    info.oti_linkid = LINK;
    let at = page.put(info.as_bytes());
    s.varpd.raw32(OVERLAY_TARG_INFO, at, mem).unwrap();
    s.guest.send(&outgoing(A, B, 1));
    let at = page.put(v2::overlay_targ_lookup_t::new_zeroed().as_bytes());
    s.varpd.raw32(OVERLAY_TARG_LOOKUP, at, mem).unwrap();
    // SAFETY: where the answer was put.
    let l = unsafe { std::ptr::read_unaligned(at as *const v2::overlay_targ_lookup_t) };
    assert!(matches!(l.about(), About::L3(_)));
    let mut a = v2::overlay_targ_resp_t::new_zeroed();
    a.otr_reqid = l.otl_reqid;
    let at = page.put(a.as_bytes());
    s.varpd.raw32(OVERLAY_TARG_DROP, at, mem).unwrap();
    assert_eq!(stats(LINK)["drop_lookup_drop"], 1);
    s.end();
}

/// Defective: an associate that comes second destroys the wrong cache.
#[test]
fn s10_a_second_associate_leaves_the_first_alone() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    fill(&s, &v2, (1..50).map(|n| (A.to_string(), format!("10.3.0.{n}"))));
    for _ in 0..3 {
        assert_eq!(s.varpd.dynamic_v2(LINK), Err(Errno::EEXIST));
    }
    assert_eq!(v2.routes(500).len(), 49);
    s.guest.send(&outgoing(A, "10.3.0.7", 1));
    assert_eq!(s.peer.frame(OTHER), routed(A, "10.3.0.7", 1));
    s.guest.send(&outgoing(A, "10.3.0.77", 1));
    s.varpd.disassociate(LINK).unwrap();
    assert_eq!(stats(LINK)["drop_target_gone"], 1);
    s.end();
}
