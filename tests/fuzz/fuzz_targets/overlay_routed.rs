// SPDX-License-Identifier: CDDL-1.0
//! What a guest sends to its router, and what varpd says of it: `([kind] [length] [bytes])*`.
//!
//! Every datagram that comes out is a frame that the guest sent, as an answer that was taken makes it,
//! worked out here anew and on plain bytes; and the kernel has nothing to complain of.
#![no_main]

use fuzz::{GUEST, LINK, ROUTER, Rig, VNET, call};
use libfuzzer_sys::fuzz_target;
use overlay_abi::errno::Errno;
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::v2::{self, About};
use overlay_abi::target::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

struct State {
    rig: Rig,
    /// What the guest has sent.
    frames: Vec<Vec<u8>>,
    /// Answers about routes that were taken.
    hops: Vec<v2::overlay_targ_resp_t>,
    /// Questions that were put and not answered.
    asked: Vec<v2::overlay_targ_lookup_t>,
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut s = State { rig: Rig::boot(), frames: vec![], hops: vec![], asked: vec![] };
    while let Some(([kind, len], more)) = rest.split_first_chunk() {
        let (bytes, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        match kind % 7 {
            0 | 1 => s.send(bytes),
            2 => s.look_up(),
            3 => s.answer(bytes),
            4 => s.refuse(bytes),
            5 => s.forget(bytes),
            _ => s.set(bytes),
        }
        s.came();
    }
    let queued = s.rig.counter("queued_packets");
    assert!(queued <= s.frames.len() as u64);
    s.rig.end();
});

impl State {
    /// `[cut] [cut] [Ethernet type and what follows]`, for the router.
    fn send(&mut self, bytes: &[u8]) {
        let Some(([x, y], rest)) = bytes.split_first_chunk() else { return };
        let frame = [&ROUTER[..], &GUEST, rest].concat();
        // The header of Ethernet is in one block, as MAC wants it.
        let x = (14 + usize::from(*x)).min(frame.len());
        let (a, b) = frame.split_at(x);
        let (b, c) = b.split_at(usize::from(*y).min(b.len()));
        self.rig.send(&[a, b, c]);
        self.frames.push(frame);
    }

    fn look_up(&mut self) {
        // Nobody waits a second for what is not there.
        if self.rig.counter("lookups_outstanding") <= self.asked.len() as u64 {
            return;
        }
        let mut q = v2::overlay_targ_lookup_t::new_zeroed();
        // None: all that waits was forgotten or cannot be read.
        if call(&self.rig.varpd, OVERLAY_TARG_LOOKUP, &mut q).is_ok() {
            let size = q.otl_hdrsize + q.otl_pktsize;
            assert!(self.frames.iter().any(|f| f.len() as u64 == size), "{size} bytes");
            if let About::L2(l2) = q.about() {
                assert_eq!(l2.otl2_dstaddr, ROUTER);
                assert_eq!(l2.otl2_dsttype, v2::OVERLAY_TARG_DSTTYPE_ROUTER);
            }
            self.asked.push(q);
        }
    }

    /// `[which] [where to] [the rest of the answer]`
    fn answer(&mut self, bytes: &[u8]) {
        let Some(([which, place], rest)) = bytes.split_first_chunk() else { return };
        let mut a = v2::overlay_targ_resp_t::new_zeroed();
        a.as_mut_bytes()[8..].iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        a.otr_answer = match place % 6 {
            0..3 => self.rig.to(),
            3 => UnderlayAddr { ip: [0; 16], port: 0 },
            4 => UnderlayAddr { port: 0, ..self.rig.to() },
            _ => UnderlayAddr { ip: [0; 16], port: 4789 },
        }
        .into();
        let question = self.question(*which);
        a.otr_reqid = question.map_or(u64::from(*which), |q| q.otl_reqid);
        let result = call(&self.rig.varpd, OVERLAY_TARG_RESPOND, &mut a);
        assert!(matches!(result, Ok(()) | Err(Errno::EINVAL | Errno::ENOSPC)), "{result:?}");
        if result.is_ok() && place % 6 < 3 {
            self.hops.push(a);
        }
    }

    fn refuse(&mut self, bytes: &[u8]) {
        let which = bytes.first().copied().unwrap_or(0);
        let mut a = v2::overlay_targ_resp_t::new_zeroed();
        a.otr_reqid = self.question(which).map_or(u64::from(which), |q| q.otl_reqid);
        let result = call(&self.rig.varpd, OVERLAY_TARG_DROP, &mut a);
        assert!(matches!(result, Ok(()) | Err(Errno::EINVAL)), "{result:?}");
    }

    /// Takes a question.
    fn question(&mut self, which: u8) -> Option<v2::overlay_targ_lookup_t> {
        let at = usize::from(which).checked_rem(self.asked.len())?;
        Some(self.asked.swap_remove(at))
    }

    /// REMOVE_NET, or for nothing in particular FLUSH.
    fn forget(&mut self, bytes: &[u8]) {
        let Ok((mut entry, _)) = v2::overlay_targ_cache_net_entry_t::read_from_prefix(bytes) else {
            let mut all = v2::overlay_targ_cache_t::new_zeroed();
            all.otc_linkid = LINK;
            call(&self.rig.varpd, OVERLAY_TARG_CACHE_FLUSH, &mut all).expect("it is flushed");
            self.hops.clear();
            return self.router();
        };
        entry.otcne_vlan &= 0xfff;
        let good = entry.otcne_src_prefixlen <= 128 && entry.otcne_dst_prefixlen <= 128;
        let mut net = v2::overlay_targ_cache_net_t { otcn_linkid: LINK, otcn_entry: entry };
        let result = call(&self.rig.varpd, v2::OVERLAY_TARG_CACHE_REMOVE_NET, &mut net);
        assert_eq!(result, if good { Ok(()) } else { Err(Errno::EINVAL) });
    }

    /// An entry of the cache, which is never a place other than the sink.
    fn set(&mut self, bytes: &[u8]) {
        let Ok((mac, rest)) = v2::overlay_target_mac_t::read_from_prefix(bytes) else { return };
        if mac.otm_mac == ROUTER {
            return;
        }
        let mut a = v2::overlay_targ_cache_t::new_zeroed();
        (a.otc_linkid, a.otc_entry.otce_mac) = (LINK, mac);
        a.otc_entry.otce_flags = rest.first().copied().unwrap_or(0).into();
        a.otc_entry.otce_dest = self.rig.to().into();
        let cmd = match rest.get(1).copied().unwrap_or(0) % 3 {
            0 => OVERLAY_TARG_CACHE_SET,
            1 => OVERLAY_TARG_CACHE_GET,
            _ => OVERLAY_TARG_CACHE_REMOVE,
        };
        let result = call(&self.rig.varpd, cmd, &mut a);
        let good = matches!(result, Ok(()) | Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOSPC));
        assert!(good, "{result:?}");
    }

    fn router(&self) {
        let mut router = v2::overlay_targ_cache_t::new_zeroed();
        router.otc_linkid = LINK;
        router.otc_entry.otce_mac.otm_mac = ROUTER;
        router.otc_entry.otce_flags = v2::OVERLAY_TARGET_CACHE_ROUTER;
        call(&self.rig.varpd, OVERLAY_TARG_CACHE_SET, &mut router).expect("a router");
    }

    /// What came out.
    fn came(&self) {
        let mut buf = [0; 2048];
        while let Ok(n) = self.rig.sink.recv(&mut buf) {
            let ([8, 0, 0, 0, a, b, c, 0], frame) = buf[..n].split_first_chunk().expect("a header")
            else {
                panic!("{:x?}", &buf[..n])
            };
            let vnet = u64::from(u32::from_be_bytes([0, *a, *b, *c]));
            let hops = self.hops.iter().filter(|h| h.otr_route.otr_vnet == vnet);
            let known = hops.flat_map(|h| self.frames.iter().filter_map(move |f| routed(f, h)));
            assert!({ known }.any(|f| f == frame), "network {vnet:x} of {VNET:x}: {frame:x?}");
        }
    }
}

/// What becomes of a frame: every rule on its own.
fn routed(frame: &[u8], hop: &v2::overlay_targ_resp_t) -> Option<Vec<u8>> {
    let tag = frame.get(12..14)? == [0x81, 0];
    let (tci, at) =
        if tag { (u16::from_be_bytes([*frame.get(14)?, *frame.get(15)?]), 16) } else { (0, 12) };
    let (kind, ip) = frame.get(at..)?.split_at_checked(2)?;
    let mut ip = ip.to_vec();
    match kind {
        [8, 0] if ip.len() >= 20 && ip[8] > 1 => {
            ip[8] -= 1;
            // The sum of all words is what it was: 0x100 less there, more here, the carry round.
            let sum = u32::from(u16::from_be_bytes([ip[10], ip[11]])) + 0x100;
            let sum = if sum >= 0xffff { sum - 0xffff } else { sum };
            ip[10..12].copy_from_slice(&(sum as u16).to_be_bytes());
        }
        [0x86, 0xdd] if ip.len() >= 40 && ip[7] > 1 => ip[7] -= 1,
        _ => return None,
    }
    let mut out = [hop.otr_mac.otm_mac, hop.otr_route.otr_srcmac].concat();
    if hop.otr_route.otr_vlan != 0 {
        out.extend([0x81, 0]);
        out.extend((tci & 0xf000 | hop.otr_route.otr_vlan).to_be_bytes());
    }
    out.extend(kind);
    out.extend(ip);
    Some(out)
}
