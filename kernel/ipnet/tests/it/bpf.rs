// SPDX-License-Identifier: CDDL-1.0
//! BPF's side: the provider's table (spec/ipnet.md 5).
use crate::common::*;
use crate::modules::{ipnet_allmulti, ipnet_set_itap, provider};
use fakekernel::inet::ip::{Family, Interface, Seen};
use fakekernel::inet::netstack::{IpType, zone_boot, zone_halt};
use illumos_sys_hdrs::{boolean_t, mblk_t};
use overlay_abi::errno::Errno;
use std::ffi::{CStr, CString, c_void};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const ALL: i32 = 0;
const FILTERED: i32 = 1;
const ONLY_MULTI: i32 = 2;

/// What BPF was shown.
#[derive(Default)]
pub struct Shown {
    packets: Mutex<Vec<Packet>>,
    /// Somebody is in the function.
    inside: AtomicU32,
    /// Nobody may be.
    closed: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    bytes: Vec<u8>,
    sent: bool,
    len: u32,
}

impl Shown {
    fn take(&self) -> Vec<Packet> {
        std::mem::take(&mut self.packets.lock().unwrap())
    }
}

/// BPF's function.
unsafe extern "C" fn tap(arg: *mut c_void, mp: *mut mblk_t, sent: boolean_t, len: u32) {
    // SAFETY: what `Client::new` passed, which outlives the client; the message is lent.
    unsafe {
        let shown = &*arg.cast_const().cast::<Shown>();
        shown.inside.fetch_add(1, Ordering::SeqCst);
        assert!(!shown.closed.load(Ordering::SeqCst), "shown after promisc_remove");
        let mut bytes = Vec::new();
        let mut at = mp;
        while !at.is_null() {
            let n = (*at).b_wptr as usize - (*at).b_rptr as usize;
            bytes.extend_from_slice(std::slice::from_raw_parts((*at).b_rptr, n));
            at = (*at).b_cont;
        }
        shown.packets.lock().unwrap().push(Packet { bytes, sent: sent != 0, len });
        shown.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// An open interface.
struct Open(usize);

impl Open {
    fn by_name(name: &str, zone: i32) -> Result<Open, Errno> {
        let name = CString::new(name).unwrap();
        let mut handle = 0;
        // SAFETY: the provider's function, a C string and a place.
        match unsafe { provider().bpr_open.unwrap()(name.as_ptr(), &mut handle, zone) } {
            0 => Ok(Open(handle)),
            e => Err(Errno(e)),
        }
    }

    fn name(&self) -> String {
        // SAFETY: an open handle, whose name lives as long.
        unsafe { CStr::from_ptr(provider().bpr_name.unwrap()(self.0)) }.to_str().unwrap().into()
    }

    fn client(&self) -> Open {
        let mut handle = 0;
        // SAFETY: an open handle.
        assert_eq!(unsafe { provider().bpr_client_open.unwrap()(self.0, &mut handle) }, 0);
        Open(handle)
    }

    fn promisc<'a>(&self, how: i32, shown: &'a Shown) -> Result<Promisc<'a>, Errno> {
        let mut handle = 0;
        let arg = (&raw const *shown).cast_mut().cast();
        // SAFETY: an open handle; what is passed outlives the promisc.
        let e = unsafe { provider().bpr_promisc_add.unwrap()(self.0, how, arg, &mut handle, 0) };
        if e == 0 { Ok(Promisc(handle, shown)) } else { Err(Errno(e as i32)) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: an open handle, closed once.
        unsafe { provider().bpr_client_close.unwrap()(self.0) };
    }
}

struct Promisc<'a>(usize, &'a Shown);

impl Drop for Promisc<'_> {
    fn drop(&mut self) {
        // SAFETY: added, removed once.
        unsafe { provider().bpr_promisc_remove.unwrap()(self.0) };
        self.1.closed.store(true, Ordering::SeqCst);
        assert_eq!(self.1.inside.load(Ordering::SeqCst), 0, "promisc_remove did not wait");
    }
}

fn rig() -> Rig {
    let rig = Rig::boot();
    // SAFETY: a function for any time.
    unsafe { ipnet_set_itap(Some(tap)) };
    rig
}

fn linkid(name: &str, zone: i32) -> Option<u32> {
    let name = CString::new(name).unwrap();
    let mut id = 0;
    // SAFETY: the provider's function, a C string and a place.
    let e = unsafe { provider().bpr_getlinkid.unwrap()(name.as_ptr(), &mut id, zone) };
    (e == 0).then_some(id)
}

#[test]
fn what_an_interface_is_to_bpf() {
    let rig = rig();
    let net0 = rig.net0();
    let open = Open::by_name("net0", 0).unwrap();
    let client = open.client();
    assert_eq!(open.name(), "net0");
    drop(open);
    assert_eq!(client.name(), "net0");
    assert_eq!(linkid("net0", 0), Some(net0.index()));
    assert_eq!(linkid("net0", -1), Some(net0.index()), "all zones is the global one");
    let p = provider();
    let (mut sdu, mut zone, mut dlt) = (0, 99, 0);
    // SAFETY: an open handle, places, and a message to give away.
    unsafe {
        assert_eq!(p.bpr_unit, 2);
        assert_eq!(p.bpr_type.unwrap()(client.0) as u32, 0x8000_0005);
        p.bpr_sdu_get.unwrap()(client.0, &mut sdu);
        assert_eq!(p.bpr_getzone.unwrap()(client.0, &mut zone), 0);
        assert_eq!(p.bpr_getdlt.unwrap()(client.0, &mut dlt), 0);
        let mp = illumos_sys_hdrs::allocb(64, 1);
        assert_eq!(p.bpr_tx.unwrap()(client.0, mp), Errno::EBADF.0);
    }
    assert_eq!((sdu, zone, dlt), (65535, 0, 0x8000_0005));
    drop((client, net0));
    rig.end();
}

#[test]
fn bpf_is_shown_the_packet_itself_with_its_header() {
    let rig = rig();
    let net0 = rig.net0();
    let open = Open::by_name("net0", 0).unwrap();
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    show(&net0, incoming(0), &echo(1));
    show(&net0, outgoing(0), &packet(MINE, FAR, 64, 2));
    show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 50), 64, 3));
    show(&net0, incoming(0), &packet6(FAR6, MINE6));
    let seen = shown.take();
    assert_eq!(seen.iter().map(|p| p.sent).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!(seen[0].bytes[24..], echo(1));
    assert_eq!(seen[0].len, 64 + 24);
    assert_eq!(seen[3].bytes[1], 26);
    assert_eq!(stats(0)["acceptOk"], 4);
    assert_eq!(stats(0)["dispatchOk"], 0, "no stream looks");
    drop(promisc);
    show(&net0, incoming(0), &echo(9));
    drop((open, net0));
    rig.end();
}

#[test]
fn a_client_on_loopback_sees_both_families_of_what_ip_shows_there() {
    let rig = rig();
    let lo = Interface::loopback(0).unwrap();
    settle();
    let open = Open::by_name("lo0", 0).unwrap();
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    let here = Ipv4Addr::LOCALHOST;
    show(&lo, local(0, 0), &packet(here, here, 64, 1));
    show(&lo, local(0, 0), &packet6(MINE6, MINE6));
    assert_eq!(shown.take().len(), 2);
    drop(promisc);
    drop((open, lo));
    rig.end();
}

#[test]
fn names_and_ways_that_are_not_there() {
    let rig = rig();
    let net0 = rig.net0();
    assert_eq!(Open::by_name("net1", 0).err(), Some(Errno::ESRCH));
    // W7: a zone that is not there is an error and no panic.
    assert_eq!(Open::by_name("net0", 77).err(), Some(Errno::ESRCH));
    assert_eq!(linkid("net0", 77), None);
    assert_eq!(linkid("net1", 0), None);
    let open = Open::by_name("net0", 0).unwrap();
    let shown = Shown::default();
    for how in [FILTERED, 3, -1] {
        assert_eq!(open.promisc(how, &shown).err(), Some(Errno::EINVAL));
    }
    drop((open, net0));
    rig.end();
}

#[test]
fn w03_an_interface_of_a_shared_zone_outlives_its_address() {
    const ZONE: i32 = 5;
    let theirs = Ipv4Addr::new(10, 0, 0, 5);
    let rig = rig();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let net0 = rig.net0();
    assert_eq!(Open::by_name("net0", ZONE).err(), Some(Errno::ESRCH));
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let net0 = &net0;
        scope.spawn(move || {
            for _ in 0..300 {
                net0.up(theirs.into(), 24, ZONE).unwrap();
                net0.down(theirs.into()).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            if let Ok(open) = Open::by_name("net0", ZONE) {
                let shown = Shown::default();
                let promisc = open.promisc(ALL, &shown).unwrap();
                show(net0, incoming(ZONE), &packet(FAR, theirs, 64, 1));
                assert_eq!(open.name(), "net0");
                drop(promisc);
            }
        }
    });
    net0.up(theirs.into(), 24, ZONE).unwrap();
    settle();
    let open = Open::by_name("net0", ZONE).unwrap();
    let mut zone = 0;
    // SAFETY: an open handle and a place.
    unsafe { provider().bpr_getzone.unwrap()(open.0, &mut zone) };
    assert_eq!(zone, ZONE);
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    show(&net0, incoming(ZONE), &packet(FAR, theirs, 64, 1));
    show(&net0, incoming(0), &packet(FAR, MINE, 64, 2));
    // W22: its subnet's broadcasts are the zone's too.
    show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 255), 64, 3));
    let seen: Vec<u32> = shown.take().iter().map(|p| number(&p.bytes[24..])).collect();
    assert_eq!(seen, [1, 3]);
    drop(promisc);
    drop((open, net0));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn w07_a_client_of_a_stack_that_went_sees_nothing_more() {
    const ZONE: i32 = 5;
    let rig = rig();
    zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
    let vnic = Interface::new(ZONE, "vnic0", false).unwrap();
    vnic.up(MINE.into(), 24, ZONE).unwrap();
    settle();
    let open = Open::by_name("vnic0", ZONE).unwrap();
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    show(&vnic, incoming(ZONE), &echo(1));
    assert_eq!(shown.take().len(), 1);
    drop(vnic);
    zone_halt(ZONE).unwrap();
    assert_eq!(open.name(), "vnic0");
    drop(promisc);
    let again = Shown::default();
    drop(open.promisc(ALL, &again).unwrap());
    drop(open);
    rig.end();
}

#[test]
fn w08_the_tap_may_be_taken_away_at_any_time() {
    let rig = rig();
    let net0 = rig.net0();
    let open = Open::by_name("net0", 0).unwrap();
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let net0 = &net0;
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                show(net0, incoming(0), &echo(1));
            }
        });
        for _ in 0..200 {
            // SAFETY: none, or a function for any time.
            unsafe {
                ipnet_set_itap(None);
                assert_eq!(shown.inside.load(Ordering::SeqCst), 0, "somebody is in the old one");
                ipnet_set_itap(Some(tap));
            }
            shown.take();
        }
        done.store(true, Ordering::SeqCst);
    });
    drop(promisc);
    drop((open, net0));
    rig.end();
}

#[test]
fn w13_a_client_that_goes_leaves_all_multicasts() {
    let rig = rig();
    ipnet_allmulti().store(1, Ordering::SeqCst);
    let net0 = rig.net0();
    let members = || [net0.allmulti(Family::V4), net0.allmulti(Family::V6)];
    let open = Open::by_name("net0", 0).unwrap();
    let (one, two) = (Shown::default(), Shown::default());
    let promisc = open.promisc(ALL, &one).unwrap();
    let multi = open.promisc(ONLY_MULTI, &two).unwrap();
    assert_eq!(members(), [1, 1]);
    drop(promisc);
    assert_eq!(members(), [1, 1]);
    drop(multi);
    assert_eq!(members(), [0, 0]);
    let failed = Shown::default();
    net0.refuse_join(Errno::ENETDOWN);
    assert_eq!(open.promisc(ALL, &failed).err(), Some(Errno::ENETDOWN));
    assert_eq!(members(), [0, 0]);
    show(&net0, incoming(0), &echo(1));
    assert_eq!(failed.take(), []);
    drop((open, net0));
    rig.end();
}

#[test]
fn w23_a_client_on_a_group_sees_its_members_under_the_groups_index() {
    let rig = rig();
    let net0 = rig.net0();
    let ipmp = Interface::new(0, "ipmp0", false).unwrap();
    ipmp.up(Ipv4Addr::new(10, 0, 2, 1).into(), 24, 0).unwrap();
    settle();
    let open = Open::by_name("ipmp0", 0).unwrap();
    let shown = Shown::default();
    let promisc = open.promisc(ALL, &shown).unwrap();
    let of_group = Seen { group: ipmp.index(), ..incoming(0) };
    show(&net0, of_group, &echo(1));
    show(&net0, incoming(0), &echo(2));
    let seen = shown.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].bytes[8..12], ipmp.index().to_be_bytes());
    assert_eq!(seen[0].bytes[12..16], ipmp.index().to_be_bytes());
    assert_eq!(seen[0].bytes[24..], echo(1));
    drop(promisc);
    drop((open, ipmp, net0));
    rig.end();
}
