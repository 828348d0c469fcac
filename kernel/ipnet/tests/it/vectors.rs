// SPDX-License-Identifier: CDDL-1.0
//! The recorded decisions of the original, by the driver as it is loaded: each packet is shown, and
//! the counters say who saw it.
use crate::common::*;
use crate::modules::{ipnet_set_itap, provider};
use fakekernel::inet::ip::{Direction, Interface, Seen};
use fakekernel::inet::netstack::{IpType, zone_boot, zone_halt};
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::null_mut;

/// Zones beside the global one.
const ZONES: [i32; 2] = [5, 7];

/// Who looks: kind of node, zone, family, and the levels PHYS, MULTI and SAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    kind: Kind,
    zone: i32,
    family: u8,
    levels: [bool; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Interface,
    Lo0,
    /// A client of BPF on lo0.
    Bpf,
}

struct Case {
    seen: Seen,
    index: u32,
    packet: Vec<u8>,
    accept: bool,
    line: String,
}

fn cases() -> (BTreeMap<Who, Vec<Case>>, usize) {
    let shared = std::env::var("OVERLAY_SHARED").unwrap_or_else(|_| "/work/shared".into());
    let path = format!("{shared}/vectors/ipnet/accept_vectors.csv.gz");
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut all = BTreeMap::<Who, Vec<Case>>::new();
    let mut rows = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines().skip(1) {
        let line = line.unwrap();
        let row: Vec<&str> = line.split(',').collect();
        let [kind, zone, family, phys, multi, sap, _, htype, index, group, rest @ ..] = &row[..]
        else {
            panic!("{line}")
        };
        let [zsrc, zdst, src, dst, accept] = rest else { panic!("{line}") };
        let who = Who {
            kind: match *kind {
                "if" => Kind::Interface,
                "lo" => Kind::Lo0,
                "lo_bpf" => Kind::Bpf,
                other => panic!("{other}"),
            },
            zone: zone.parse().unwrap(),
            family: family.parse().unwrap(),
            levels: [phys, multi, sap].map(|level| *level == "1"),
        };
        let direction = match *htype {
            "0" => Direction::In,
            "1" => Direction::Out,
            "2" => Direction::Local,
            other => panic!("{other}"),
        };
        let (from_zone, to_zone) = (zsrc.parse().unwrap(), zdst.parse().unwrap());
        let seen = Seen { direction, from_zone, to_zone, group: group.parse().unwrap() };
        let packet = match (src.parse().unwrap(), dst.parse().unwrap()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => packet(src, dst, 40, 0),
            (IpAddr::V6(src), IpAddr::V6(dst)) => packet6(src, dst),
            _ => panic!("{line}"),
        };
        let (index, accept) = (index.parse().unwrap(), *accept == "1");
        all.entry(who).or_default().push(Case { seen, index, packet, accept, line });
        rows += 1;
    }
    (all, rows)
}

// SAFETY: of the caller nothing is wanted.
unsafe extern "C" fn nothing(_: *mut c_void, _: *mut illumos_sys_hdrs::mblk_t, _: i32, _: u32) {}

/// The interface of the recording, others by index, and the zones.
struct World {
    all: Vec<Interface>,
}

impl World {
    fn new(indices: impl Iterator<Item = u32>) -> World {
        for zone in ZONES {
            zone_boot(zone, &format!("z{zone}"), IpType::Shared).unwrap();
        }
        let v6 = |n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n);
        let mut all = vec![Interface::new(0, "net3", false).unwrap()];
        all[0].set_index(3).unwrap();
        for (n, zone) in [(1, 0), (5, 5)] {
            all[0].up(Ipv4Addr::new(10, 0, 0, n).into(), 24, zone).unwrap();
            all[0].up(v6(n.into()).into(), 64, zone).unwrap();
        }
        // Zone 7 has nothing of the recorded addresses; with one of its own it may open the node.
        all[0].up(Ipv4Addr::new(192, 0, 2, 7).into(), 32, 7).unwrap();
        let lo0 = Interface::new(0, "lo0", true).unwrap();
        lo0.set_index(1_000).unwrap();
        for (n, zone) in [(1, 0), (2, 5), (3, 7)] {
            lo0.up(Ipv4Addr::new(127, 0, 0, n).into(), 8, zone).unwrap();
        }
        all.push(lo0);
        for index in indices.filter(|i| *i != 3) {
            let other = Interface::new(0, &format!("net{index}"), false).unwrap();
            other.set_index(index).unwrap();
            all.push(other);
        }
        settle();
        World { all }
    }

    fn show(&self, case: &Case) {
        let interface = self.all.iter().find(|i| i.index() == case.index).unwrap();
        show(interface, case.seen, &case.packet);
    }
}

/// Somebody who looks, until it is dropped.
struct Looks {
    _stream: Option<Tap>,
    /// Interface and promisc of BPF.
    bpf: Option<[usize; 2]>,
}

impl Looks {
    fn start(rig: &Rig, who: Who) -> Looks {
        let tap = match who.kind {
            Kind::Interface => rig.open_as("/dev/ipnet/net3", who.zone).unwrap(),
            Kind::Lo0 => rig.open_as("/dev/lo0", who.zone).unwrap(),
            Kind::Bpf => return Looks::bpf(who.zone),
        };
        // The original has no packets for SAP 0 without the level SAP (W20); ours has none for an
        // unbound stream.
        let unbound = (who.kind, who.family, who.levels[2]) == (Kind::Interface, 0, false);
        match who.family {
            0 if unbound => {}
            0 => tap.bind(0),
            2 => tap.bind(4),
            26 => tap.bind(6),
            other => panic!("family {other}"),
        }
        for (level, on) in [PHYS, MULTI, SAP].into_iter().zip(who.levels) {
            if on {
                tap.on(level);
            }
        }
        Looks { _stream: Some(tap), bpf: None }
    }

    fn bpf(zone: i32) -> Looks {
        let (p, mut interface, mut promisc) = (provider(), 0, 0);
        // SAFETY: the provider's functions, a C string and places; BPF's function takes no notice.
        unsafe {
            assert_eq!(p.bpr_open.unwrap()(c"lo0".as_ptr(), &mut interface, zone), 0);
            let added = p.bpr_promisc_add.unwrap()(interface, 0, null_mut(), &mut promisc, 0);
            assert_eq!(added, 0);
        }
        Looks { _stream: None, bpf: Some([interface, promisc]) }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some([interface, promisc]) = self.bpf {
            // SAFETY: open, closed once.
            unsafe {
                provider().bpr_promisc_remove.unwrap()(promisc);
                provider().bpr_close.unwrap()(interface);
            }
        }
    }
}

#[test]
fn all_recorded_decisions_of_the_original_by_the_driver_as_loaded() {
    let (all, rows) = cases();
    assert_eq!(rows, 39_240);
    let rig = Rig::boot();
    // SAFETY: a function for any time.
    unsafe { ipnet_set_itap(Some(nothing)) };
    let mut indices: Vec<u32> = all.values().flatten().map(|c| c.index).collect();
    indices.sort_unstable();
    indices.dedup();
    let world = World::new(indices.into_iter());
    let accepted = || stats(0)["acceptOk"];
    let mut shown = 0;
    for (who, cases) in &all {
        // BPF cannot say which family, so only those that are for both are its.
        if who.kind == Kind::Bpf && who.family != 0 {
            continue;
        }
        let looks = Looks::start(&rig, *who);
        let mut before = accepted();
        for case in cases {
            world.show(case);
            let now = accepted();
            assert_eq!(now - before, u64::from(case.accept), "{}", case.line);
            (before, shown) = (now, shown + 1);
        }
        drop(looks);
    }
    assert_eq!(shown, 38_237);
    drop(world);
    ZONES.into_iter().for_each(|zone| zone_halt(zone).unwrap());
    rig.end();
}
