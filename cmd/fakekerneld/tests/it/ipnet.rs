// SPDX-License-Identifier: CDDL-1.0
//! Guests' packets through /dev/ipnet of the root.

use std::time::Duration;

use devctl::{Got, Message, OpenFlags, Stream};
use fkadm::proto::{Attach, KstatFilter, Ping};
use overlay_abi::errno::Errno;
use snoop::source::Place;

use crate::common::{Host, command, root, two_hosts};

const SOON: Option<Duration> = Some(Duration::from_secs(30));
const A_WHILE: Option<Duration> = Some(Duration::from_millis(100));
const DLIOCIPNETINFO: u32 = 0x4404;

fn open(host: &Host, node: &str) -> Stream {
    Stream::open(&host.root, node, OpenFlags::RDWR).unwrap()
}

/// A DLPI request of words, and the words of its answer.
fn ask(s: &Stream, words: &[u32]) -> Vec<u32> {
    let control = Some(words.iter().flat_map(|w| w.to_ne_bytes()).collect());
    s.putmsg(&Message { high: false, control, data: None }).unwrap();
    match s.getmsg(SOON) {
        Ok(Got::Message(Message { high: true, control: Some(c), data: None })) => {
            c.chunks_exact(4).map(|w| u32::from_ne_bytes(w.try_into().unwrap())).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A stream as snoop sets it up: headers, all SAPs, all packets.
pub fn snoop(host: &Host, node: &str) -> Stream {
    let s = open(host, node);
    let mut on = 1u32;
    // SAFETY: DLIOCIPNETINFO reads an int.
    assert_eq!(unsafe { s.ioctl(DLIOCIPNETINFO, (&raw mut on).cast()) }, Ok(1));
    assert_eq!(ask(&s, &[1, 0, 0, 0, 0]), [4, 0, 0, 24, 0, 0]);
    for level in [1, 2] {
        assert_eq!(ask(&s, &[0x1f, level]), [6, 0x1f]);
    }
    s
}

/// The next packet: its way, and all of its 24 bytes of header and what follows.
pub fn packet(s: &Stream) -> (u16, Vec<u8>) {
    match s.getmsg(SOON) {
        Ok(Got::Message(Message { data: Some(d), control: None, .. })) => {
            let length = u32::from_be_bytes(d[4..8].try_into().unwrap());
            assert_eq!((d[0], length as usize), (1, d.len() - 24));
            (u16::from_be_bytes([d[2], d[3]]), d)
        }
        other => panic!("{other:?}"),
    }
}

fn ping(host: &Host, to: &str, count: u32, size: u16) {
    let r = host.client().guest_ping(Ping {
        count,
        size,
        interval_ms: 0,
        timeout_ms: 10_000,
        ..Ping::new("vnic0", to.parse().unwrap())
    });
    assert_eq!(r.unwrap().received, u64::from(count));
}

#[test]
fn a_ping_is_seen_at_both_ends() {
    let hosts = two_hosts(true);
    let seen = hosts.each_ref().map(|(host, _)| snoop(host, "/dev/ipnet/vnic0"));
    ping(&hosts[0].0, "10.1.0.2", 5, 56);
    for (n, s) in seen.iter().enumerate() {
        for _ in 0..5 {
            // Echo request, then the answer, as that end has it.
            for (kind, out) in [(8, n == 0), (0, n == 1)] {
                let (way, p) = packet(s);
                assert_eq!((way, p[1], p[24] >> 4), (u16::from(out), 2, 4));
                assert_eq!((p[24 + 9], p[24 + 20]), (1, kind), "ICMP");
                let zones = (&p[16..20], &p[20..24]);
                let want: (&[u8], &[u8]) =
                    if out { (&[0; 4], &[0xff; 4]) } else { (&[0xff; 4], &[0; 4]) };
                assert_eq!(zones, want);
            }
        }
    }
    ping(&hosts[0].0, "fd00::2", 1, 56);
    // Neighbours are asked first.
    let echo = |s: &Stream| loop {
        let (_, p) = packet(s);
        assert_eq!((p[1], p[24] >> 4), (26, 6));
        if p[24 + 40] == 128 {
            return;
        }
    };
    seen.iter().for_each(echo);
    let filter = KstatFilter { module: Some("ipnet".into()), ..KstatFilter::default() };
    let stats = hosts[0].0.client().kstat(filter).unwrap();
    assert!(stats.iter().any(|k| k.name == "ipnet_stats" && k.class == "misc"), "{stats:?}");

    // The interface goes with its guest, and with it what looks at it.
    let (host, _) = &hosts[0];
    host.client().guest_detach("vnic0").unwrap();
    let end = loop {
        match seen[0].getmsg(SOON) {
            Ok(Got::Message(_)) => {}
            other => break other,
        }
    };
    assert_eq!(end, Ok(Got::Hangup));
    let gone = Stream::open(&host.root, "/dev/ipnet/vnic0", OpenFlags::RDWR).unwrap_err();
    assert_eq!(gone.errno, Errno::ENOENT);
    drop(seen);
    for (host, overlay) in hosts {
        drop(overlay);
        host.end_clean();
    }
}

#[test]
fn the_underlay_is_an_interface_of_the_global_zone() {
    let hosts = two_hosts(true);
    // They know each other from here on.
    ping(&hosts[0].0, "10.1.0.2", 1, 56);
    let seen = hosts.each_ref().map(|(host, _)| snoop(host, "/dev/ipnet/underlay"));
    let second = snoop(&hosts[0].0, "/dev/ipnet/underlay");
    ping(&hosts[0].0, "10.1.0.2", 3, 56);
    // An ICMP message of this kind, with headers of Ethernet, VXLAN, UDP and IP before it.
    let carries = |p: &[u8], kind| p[24] == 0x45 && p[24 + 9] == 17 && p[24 + 36 + 34] == kind;
    for (n, s) in seen.iter().chain([&second]).enumerate() {
        let n = n % 2;
        for _ in 0..3 {
            for (kind, out) in [(8, n == 0), (0, n == 1)] {
                let (way, p) = packet(s);
                assert_eq!((way, p[1]), (u16::from(out), 2));
                assert!(carries(&p, kind), "{p:x?}");
                assert_eq!((p[16..20] == [0; 4], p[20..24] == [0; 4]), (out, !out), "zones");
            }
        }
        assert_eq!(s.getmsg(A_WHILE), Ok(Got::Nothing), "each once");
    }
    drop((seen, second));
    for (host, overlay) in hosts {
        drop(overlay);
        host.end_clean();
    }
}

#[test]
fn the_file_in_place_of_what_is_built_in() {
    let Some(modules) = test_skip::kernel_modules() else { return };
    let dir = tempfile::tempdir().unwrap();
    let root = root(dir.path());
    let mut command = command(&root);
    command.arg("--modload").arg(format!("drv/ipnet={}", modules.join("ipnet").display()));
    let host = Host::start_command(root, command);
    let all = host.client().modinfo().unwrap();
    assert!(all.iter().any(|m| m.name == "drv/ipnet" && m.file.is_some()), "{all:?}");
    for node in ["/dev/lo0", "/dev/ipnet/lo0"] {
        drop(snoop(&host, node));
    }
    host.client().modunload("drv/ipnet").unwrap();
    host.end_clean();
}

#[test]
fn nodes_that_are_always_there() {
    let host = Host::start();
    for node in ["/dev/lo0", "/dev/ipnet/lo0"] {
        let s = snoop(&host, node);
        assert_eq!(s.getmsg(A_WHILE), Ok(Got::Nothing));
    }
    let s = open(&host, "/dev/lo0");
    assert_eq!(ask(&s, &[0x0b, 0]), [5, 0x0b, 7, 0], "DL_ATTACH_REQ is DL_UNSUPPORTED");
    // An open stream keeps the module, and a module that is gone has no nodes.
    assert!(host.client().modunload("drv/ipnet").is_err());
    drop(s);
    host.client().modunload("drv/ipnet").unwrap();
    for node in ["/dev/lo0", "/dev/ipnet/lo0"] {
        let e = Stream::open(&host.root, node, OpenFlags::RDWR).unwrap_err();
        assert_eq!(e.errno, Errno::ENOENT);
    }
    host.client().modload("drv/ipnet", None).unwrap();
    drop(snoop(&host, "/dev/ipnet/lo0"));
    host.end_clean();
}

#[test]
fn a_guest_in_a_zone_of_its_own() {
    let hosts = two_hosts(false);
    for (n, (host, _)) in hosts.iter().enumerate() {
        let addresses = vec![format!("10.1.0.{}/24", n + 1)];
        let attach = |zone: &str| {
            let (link, zone) = ("vnic0".into(), Some(zone.into()));
            let addresses = addresses.clone();
            host.client().guest_attach_as(Attach { link, addresses, zone, ..Attach::default() })
        };
        for bad in ["global", "", "a/b"] {
            assert!(attach(bad).unwrap_err().to_string().contains("name of a zone"));
        }
        attach("web").unwrap();
    }
    let (host, _) = &hosts[0];
    let outside = Stream::open(&host.root, "/dev/ipnet/vnic0", OpenFlags::RDWR).unwrap_err();
    assert_eq!(outside.errno, Errno::ENOENT);
    // A link is of the zone of its guest.
    let link =
        |zone, name: &str| match Place::new(Some(host.root.dir()), Some(zone)).link(name, false) {
            Ok(source) => source.name().to_owned(),
            Err(e) => e.to_string(),
        };
    assert_eq!(link("web", "vnic0"), "vnic0");
    assert_eq!(link("web", "lo0"), "lo0");
    assert_eq!(link("web", "overlay0"), "overlay0: zone web has no such link; it has vnic0");
    let nobody = "vnic0: zone red has no such link; no guest is in a zone of that name";
    assert_eq!(link("red", "vnic0"), nobody);
    // So it is with interfaces.
    let none = |zone| {
        let place = Place::new(Some(host.root.dir()), zone);
        place.interface("vnic0", false).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(none(Some("red")), nobody);
    let there = "vnic0: the host has no such IP interface; there are lo0, underlay";
    assert_eq!(none(None), there);
    let s = snoop(host, "/dev/ipnet/zone/web/vnic0");
    ping(host, "10.1.0.2", 1, 56);
    let (way, p) = packet(&s);
    assert_eq!((way, &p[16..24]), (1, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff][..]));
    let (way, p) = packet(&s);
    assert_eq!((way, &p[16..24]), (0, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1][..]));
    // The zone halts with its last guest.
    host.client().guest_detach("vnic0").unwrap();
    let gone = Stream::open(&host.root, "/dev/ipnet/zone/web/lo0", OpenFlags::RDWR).unwrap_err();
    assert_eq!(gone.errno, Errno::ENOENT);
    drop(s);
    for (host, overlay) in hosts {
        drop(overlay);
        host.end_clean();
    }
}

/// Each packet is either read, in order, or counted as dropped.
#[test]
fn a_slow_reader_of_a_busy_guest() {
    let hosts = two_hosts(true);
    let (host, _) = &hosts[0];
    let s = snoop(host, "/dev/ipnet/vnic0");
    // More than the driver, the head and the socket hold.
    ping(host, "10.1.0.2", 600, 1300);
    let filter = KstatFilter {
        module: Some("ipnet".into()),
        name: Some("stream".into()),
        ..KstatFilter::default()
    };
    let stats = host.client().kstat(filter).unwrap();
    let [stats] = &stats[..] else { panic!("{stats:?}") };
    let count = |name: &str| stats.data[name].as_u64().unwrap();
    assert_eq!((count("accepted"), count("delivered") + count("dropped")), (1200, 1200));
    assert!(count("dropped") > 0);
    let mut last = None;
    for _ in 0..count("delivered") {
        let (_, p) = packet(&s);
        let (kind, sequence) = (p[24 + 20], u16::from_be_bytes([p[24 + 26], p[24 + 27]]));
        if kind == 8 {
            assert!(last < Some(sequence), "{sequence} after {last:?}");
            last = Some(sequence);
        }
    }
    assert_eq!(s.getmsg(A_WHILE), Ok(Got::Nothing));
    drop(s);
    for (host, overlay) in hosts {
        drop(overlay);
        host.end_clean();
    }
}
