// SPDX-License-Identifier: CDDL-1.0
//! Version 2, the routed form: what has other layouts than in version 1, and what only this has.
use super::Handler;
use super::ops::{self, Answer, hold, with_cache, with_target};
use super::v1::flags;
use crate::overlay;
use crate::request::About;
use crate::target::Mode;
use crate::target::cache::{Cache, Dest, Hop, Route, RouteKey};
use crate::target::prefix::{Ip, Net};
use crate::target::realm::{PROBES, VL2};
use ddi::Errno;
use ddi::dev::UserArg;
use ddi::mem::{KVec, KmFlag};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::v2::*;
use overlay_abi::target::{
    OVERLAY_TARG_ASSOCIATE, OVERLAY_TARG_CACHE_FLUSH, OVERLAY_TARG_CACHE_GET,
    OVERLAY_TARG_CACHE_ITER, OVERLAY_TARG_CACHE_REMOVE, OVERLAY_TARG_CACHE_SET, OVERLAY_TARG_DROP,
    OVERLAY_TARG_INFO, OVERLAY_TARG_LOOKUP, OVERLAY_TARG_RESPOND, OVERLAY_TARGET_CACHE_DROP,
    OVERLAY_TARGET_ITER_MAX,
};
use zerocopy::{FromZeros, IntoBytes};

/// As [`super::command`].
pub(super) fn command(cmd: u32) -> Option<(bool, Handler)> {
    Some(match cmd {
        OVERLAY_TARG_INFO => (true, info),
        OVERLAY_TARG_ASSOCIATE => (true, associate),
        OVERLAY_TARG_LOOKUP => (true, lookup),
        OVERLAY_TARG_RESPOND => (true, respond),
        OVERLAY_TARG_DROP => (true, refuse),
        OVERLAY_TARG_CACHE_GET => (false, cache_get),
        OVERLAY_TARG_CACHE_SET => (true, cache_set),
        OVERLAY_TARG_CACHE_REMOVE => (true, cache_remove),
        OVERLAY_TARG_CACHE_REMOVE_NET => (true, cache_remove_net),
        OVERLAY_TARG_CACHE_FLUSH => (true, cache_flush),
        OVERLAY_TARG_CACHE_ITER => (false, cache_iter),
        OVERLAY_TARG_ROUTE_ITER => (false, route_iter),
        _ => return None,
    })
}

/// 4 bytes shorter from a 32-bit program, behind which may be nothing.
fn info(_: u32, arg: UserArg) -> Result<(), Errno> {
    let linkid: u32 = arg.copyin()?;
    let info = ops::info(linkid)?;
    let (flags, vnetid, dcid) = (flags(&info), info.vnetid, info.dcid);
    if arg.is_ilp32() {
        return arg.copyout(&ilp32::overlay_targ_info_t {
            oti_linkid: linkid,
            oti_needs: info.needs,
            oti_flags: flags.into(),
            oti_vnetid: vnetid.into(),
            oti_dcid: dcid,
        });
    }
    arg.copyout(&overlay_targ_info_t {
        oti_linkid: linkid,
        oti_needs: info.needs,
        oti_flags: flags,
        oti_vnetid: vnetid,
        oti_dcid: dcid,
        oti_pad: 0,
    })
}

fn associate(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_associate_t = arg.copyin()?;
    let point = a.ota_point.underlay();
    ops::associate(a.ota_linkid, (a.ota_id, a.ota_mode), a.ota_provides, point)
}

fn lookup(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let q = ops::next_question(minor, |_| true)?;
    let mut a = overlay_targ_lookup_t::new_zeroed();
    a.otl_dlid = u64::from(q.request.linkid);
    a.otl_reqid = q.request.id;
    a.otl_varpdid = q.varpd;
    a.otl_vnetid = q.vnetid;
    a.otl_hdrsize = q.header.size as u64;
    a.otl_pktsize = q.payload();
    a.otl_vlan = i32::from(q.header.vlan);
    a.set_about(match q.request.about {
        About::Mac(key) => overlay_abi::target::v2::About::L2(overlay_targ_l2_t {
            otl2_srcaddr: q.header.src.0,
            otl2_dstaddr: q.header.dst.0,
            otl2_dsttype: match VL2::of(key).realm {
                PROBES => OVERLAY_TARG_DSTTYPE_ROUTER,
                _ => q.dsttype(),
            },
            otl2_sap: u32::from(q.header.sap),
        }),
        About::Route(key) => overlay_abi::target::v2::About::L3(addrs(key)),
    });
    // The caller did not get it: somebody else shall.
    let requests = &overlay()?.requests;
    arg.copyout(&a).inspect_err(|_| requests.give_back(minor, q.request.id))
}

fn addrs(key: RouteKey) -> overlay_targ_l3_t {
    overlay_targ_l3_t {
        otl3_srcip: key.src.bits().to_be_bytes(),
        otl3_dstip: key.dst.bits().to_be_bytes(),
    }
}

/// Route and MAC address count for a question about a route: 0 there is no guest's.
fn respond(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_resp_t = arg.copyin()?;
    let request = overlay()?.requests.held(minor, a.otr_reqid)?;
    let answer = match request.about {
        About::Mac(_) => Answer::Place(dest(&a.otr_answer)),
        About::Route(_) => Answer::Route {
            vnet: a.otr_route.otr_vnet,
            dcid: a.otr_mac.otm_dcid,
            mac: a.otr_mac.otm_mac,
            srcmac: a.otr_route.otr_srcmac,
            vlan: a.otr_route.otr_vlan,
            at: a.otr_answer.underlay(),
        },
    };
    ops::finish(minor, a.otr_reqid, answer)
}

fn dest(point: &overlay_target_point_t) -> Dest {
    if point.is_router() { Dest::Router } else { Dest::To(point.underlay()) }
}

fn refuse(minor: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_resp_t = arg.copyin()?;
    ops::finish(minor, a.otr_reqid, Answer::Drop)
}

fn entry(dcid: u32, mac: [u8; 6], dest: Dest) -> overlay_targ_cache_entry_t {
    let nowhere = overlay_target_point_t::new_zeroed();
    let (otce_flags, otce_dest) = match dest {
        Dest::To(addr) => (0, addr.into()),
        Dest::Drop => (OVERLAY_TARGET_CACHE_DROP, nowhere),
        Dest::Router => (OVERLAY_TARGET_CACHE_ROUTER, nowhere),
    };
    let otce_mac = overlay_target_mac_t::new(dcid, MacAddr(mac));
    overlay_targ_cache_entry_t { otce_mac, otce_flags, otce_pad: [0; 2], otce_dest }
}

fn cache_get(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_cache_t = arg.copyin()?;
    let dev = hold(a.otc_linkid)?;
    let overlay_target_mac_t { otm_dcid, otm_mac, .. } = a.otc_entry.otce_mac;
    let found = with_target(&dev, |target, _| match &target.mode {
        Mode::Point(addr) | Mode::Unsendable(addr) => Ok(Dest::To(*addr)),
        Mode::Dynamic(cache) => cache.get(otm_dcid, otm_mac).ok_or(Errno::ENOENT),
    })?;
    let dcid = if otm_dcid == 0 { dev.dcid } else { otm_dcid };
    drop(dev);
    a.otc_entry = entry(dcid, otm_mac, found);
    arg.copyout(&a)
}

fn cache_set(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let entry = a.otc_entry;
    let dest = match entry.otce_flags {
        0 => dest(&entry.otce_dest),
        OVERLAY_TARGET_CACHE_DROP => Dest::Drop,
        OVERLAY_TARGET_CACHE_ROUTER => Dest::Router,
        _ => return Err(Errno::EINVAL),
    };
    ops::cache_set(a.otc_linkid, (entry.otce_mac.otm_dcid, entry.otce_mac.otm_mac), dest)
}

fn cache_remove(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    let overlay_target_mac_t { otm_dcid, otm_mac, .. } = a.otc_entry.otce_mac;
    ops::cache_remove(a.otc_linkid, otm_dcid, otm_mac)
}

fn cache_remove_net(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_net_t = arg.copyin()?;
    let net = a.otcn_entry;
    let src = Net::new(net.otcne_src, net.otcne_src_prefixlen)?;
    let dst = Net::new(net.otcne_dst, net.otcne_dst_prefixlen)?;
    let dev = hold(a.otcn_linkid)?;
    let (looked, gone) = with_cache(&dev, |cache, _| {
        Ok(cache.remove_net(&overlay()?.requests, net.otcne_vlan, src, dst))
    })?;
    ddi::fire!(__dtrace_probe_overlay__route__flush, dev.linkid, looked, gone, 0);
    // Networks may have been taken apart: nothing crosses after that. Also if nothing was there: what
    // went a moment ago for another reason may still lead a packet.
    dev.wait_for_packets();
    Ok(())
}

fn cache_flush(_: u32, arg: UserArg) -> Result<(), Errno> {
    let a: overlay_targ_cache_t = arg.copyin()?;
    ops::cache_flush(a.otc_linkid)
}

fn check_count(count: u16) -> Result<usize, Errno> {
    match count {
        0 => Err(Errno::EINVAL),
        n if n > OVERLAY_TARGET_ITER_MAX => Err(Errno::E2BIG),
        n => Ok(usize::from(n)),
    }
}

/// The marker is the next key, and whether that was all.
fn cache_iter(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_cache_iter_t = arg.copyin()?;
    let max = check_count(a.otci_count)?;
    let dev = hold(a.otci_linkid)?;
    let mut entries = KVec::new();
    let [from, done] = a.otci_marker;
    let next = with_target(&dev, |target, _| match &target.mode {
        _ if done != 0 => Ok(None),
        Mode::Point(addr) | Mode::Unsendable(addr) => {
            entries.push(entry(dev.dcid, [0; 6], Dest::To(*addr)), KmFlag::Sleep)?;
            Ok(None)
        }
        Mode::Dynamic(cache) => {
            let show = |key, dest: &Dest| Some(entry(cache.dcid(key)?, ops::mac(key), *dest));
            cache.macs.walk(from, |_| true, max, show, &mut entries)
        }
    })?;
    drop(dev);
    a.otci_marker = next.map_or([0, 1], |key| [key, 0]);
    a.otci_count = entries.len() as u16;
    if !entries.is_empty() {
        let entries: &[overlay_targ_cache_entry_t] = &entries;
        arg.offset(size_of::<overlay_targ_cache_iter_t>()).copyout(entries.as_bytes())?;
    }
    arg.copyout(&a)
}

fn route(cache: &Cache, key: RouteKey, hop: &Hop) -> Option<overlay_targ_route_entry_t> {
    let otre_dest = match cache.macs.get(hop.to) {
        Some(Dest::To(addr)) => addr.into(),
        _ => overlay_target_point_t::new_zeroed(),
    };
    let mac = MacAddr(ops::mac(hop.to));
    Some(overlay_targ_route_entry_t {
        otre_addr: addrs(key),
        otre_route: overlay_target_route_t {
            otr_vnet: hop.vnet,
            otr_srcmac: hop.srcmac,
            otr_vlan: hop.vlan,
        },
        otre_mac: overlay_target_mac_t::new(cache.dcid(hop.to)?, mac),
        otre_vlan: key.vlan,
        otre_pad: [0; 2],
        otre_dest,
    })
}

/// VLAN id and marker are the next key; the state says whether that was all.
fn route_iter(_: u32, arg: UserArg) -> Result<(), Errno> {
    let mut a: overlay_targ_route_iter_t = arg.copyin()?;
    let max = check_count(a.otri_count)?;
    let dev = hold(a.otri_linkid)?;
    let mut routes = KVec::new();
    let from = RouteKey {
        vlan: a.otri_vlan,
        src: Ip::new(u128::from_be_bytes(a.otri_marker.otl3_srcip)),
        dst: Ip::new(u128::from_be_bytes(a.otri_marker.otl3_dstip)),
    };
    let next = with_target(&dev, |target, _| match target.cache() {
        Some(cache) if a.otri_state == 0 => {
            // Not with a shard of routes locked, for the place is in another table.
            let mut hops = KVec::new();
            let show = |key, route: &Route| Some((key, route.hop));
            let next = cache.routes.walk(from, |_| true, max, show, &mut hops)?;
            for (key, hop) in hops.iter() {
                if let Some(route) = route(cache, *key, hop) {
                    routes.push(route, KmFlag::Sleep)?;
                }
            }
            Ok(next)
        }
        _ => Ok(None),
    })?;
    drop(dev);
    a.otri_state = u64::from(next.is_none());
    if let Some(next) = next {
        (a.otri_vlan, a.otri_marker) = (next.vlan, addrs(next));
    }
    a.otri_count = routes.len() as u16;
    if !routes.is_empty() {
        let routes: &[overlay_targ_route_entry_t] = &routes;
        arg.offset(size_of::<overlay_targ_route_iter_t>()).copyout(routes.as_bytes())?;
    }
    arg.copyout(&a)
}
