// SPDX-License-Identifier: CDDL-1.0
//! Frames between the guests of two hosts, each host a process.

use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Host, loopback, point, two_hosts};
use devctl::{Device, OpenFlags, Root};
use fkadm::proto::{Capture, GuestKind, KstatFilter, Ping, TcpSend, UNDERLAY};
use libdladm::{Handle, vnic};
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use snoop::file::Reader;
use snoop::packet::LinkType;
use zerocopy::FromZeros;

fn ping(to: &str, count: u32, size: u16) -> Ping {
    let to: IpAddr = to.parse().unwrap();
    Ping { count, size, interval_ms: 0, ..Ping::new("vnic0", to) }
}

#[test]
fn guests_ping_across_two_hosts() {
    let [(a, _), (b, _)] = two_hosts(true);
    let mut client = a.client();
    for (to, full) in [("10.1.0.2", 1372), ("fd00::2", 1352)] {
        for size in [0, 56, full] {
            let r = client.guest_ping(ping(to, 5, size)).unwrap();
            assert_eq!((r.sent, r.received, r.corrupted), (5, 5, 0), "{to}, {size} bytes");
        }
    }
    assert_eq!(b.client().guest_ping(ping("10.1.0.1", 3, 56)).unwrap().received, 3);
    a.end_clean();
    b.end_clean();
}

#[test]
fn streams_cross_two_hosts_whole() {
    let [(a, _), (b, _)] = two_hosts(true);
    b.client().guest_tcp_serve("vnic0", 5001).unwrap();
    let send = TcpSend::new("vnic0", "10.1.0.2:5001".parse().unwrap(), 4 << 20);
    let r = a.client().guest_tcp_send(send).unwrap();
    assert_eq!(r.bytes, 4 << 20);
    let guests = b.client().guests().unwrap();
    let intact = GuestKind::Internal { streams_intact: 1, streams_bad: 0, stream_bytes: 4 << 20 };
    assert_eq!(guests[0].kind, intact);
    assert_eq!((guests[0].link.as_str(), guests[0].mac.as_str()), ("vnic0", "2:8:20:aa:0:2"));

    let filter = KstatFilter { module: Some("overlay".into()), ..KstatFilter::default() };
    let kstats = a.client().kstat(filter).unwrap();
    let sent = kstats.iter().filter_map(|k| k.data.get("obytes")?.as_u64()).max().unwrap();
    assert!(sent > 4 << 20, "{sent} bytes sent");
    a.end_clean();
    b.end_clean();
}

#[test]
fn a_program_that_plays_varpd_answers_lookups() {
    let ends = [loopback(), loopback()];
    let hosts = [0, 1].map(|n| {
        let host = Host::start();
        let overlay = host.overlay("overlay0", 5, ends[n], None);
        host.vnic("vnic0", overlay.linkid, [2, 8, 0x20, 0xaa, 0, 1 + n as u8]);
        host.client().guest_attach("vnic0", [format!("10.1.0.{}/24", n + 1)]).unwrap();
        (host, overlay)
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for (n, (_, overlay)) in hosts.iter().enumerate() {
            let (stop, to) = (&stop, ends[1 - n]);
            // Two lookups at a time on one handle, as varpd's threads have it.
            for _ in 0..2 {
                s.spawn(move || answer(&overlay.targets, point(to), stop));
            }
        }
        let r = hosts[0].0.client().guest_ping(ping("10.1.0.2", 10, 56));
        stop.store(true, Ordering::SeqCst);
        let r = r.unwrap();
        assert_eq!((r.sent, r.received), (10, 10));
    });
    for (host, overlay) in hosts {
        drop(overlay);
        host.end_clean();
    }
}

fn answer(targets: &Device, to: overlay_target_point_t, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let mut lookup = overlay_targ_lookup_t::new_zeroed();
        match targets.ioctl_with(OVERLAY_TARG_LOOKUP, &mut lookup) {
            Ok(_) => respond(targets, &lookup, to),
            Err(e) => assert_eq!(e, Errno::ETIME),
        }
    }
}

fn respond(targets: &Device, lookup: &overlay_targ_lookup_t, to: overlay_target_point_t) {
    let mut response = overlay_targ_resp_t::new_zeroed();
    response.otr_reqid = lookup.otl_reqid;
    response.otr_answer = to;
    targets.ioctl_with(OVERLAY_TARG_RESPOND, &mut response).unwrap();
}

#[test]
fn a_vnic_with_a_guest_is_busy() {
    let [(host, overlay), _other] = two_hosts(true);
    let handle = Handle::open(&host.root).unwrap();
    let id = handle.by_name("vnic0").unwrap().id;
    assert!(vnic::delete(&handle, id).is_err());
    host.client().guest_detach("vnic0").unwrap();
    vnic::delete(&handle, id).unwrap();
    drop(overlay);
    assert_eq!(host.client().links().unwrap().len(), 1);
    host.end_clean();
}

#[test]
fn captures_are_pcapng_files() {
    let [(a, _), (b, _)] = two_hosts(true);
    a.client().guest_ping(ping("10.1.0.2", 1, 56)).unwrap();
    let mut files = Vec::new();
    std::thread::scope(|s| {
        let captures: Vec<_> = [("vnic0", 6), ("overlay0", 6), (UNDERLAY, 6)]
            .map(|(link, count)| {
                let capture = Capture { link: link.into(), count: Some(count) };
                let mut reader = a.client().capture(capture).unwrap();
                s.spawn(move || {
                    let mut file = Vec::new();
                    reader.read_to_end(&mut file).unwrap();
                    file
                })
            })
            .into_iter()
            .collect();
        // On a busy machine one may be lost, so until there are enough.
        while !captures.iter().all(|c| c.is_finished()) {
            a.client().guest_ping(ping("10.1.0.2", 3, 100)).unwrap();
        }
        files.extend(captures.into_iter().map(|c| c.join().unwrap()));
    });
    let frame = 14 + 20 + 8 + 100;
    let (ether, raw) = (LinkType::Ethernet, LinkType::Raw);
    for (file, link, len) in
        [(&files[0], ether, frame), (&files[1], ether, frame), (&files[2], raw, 36 + frame)]
    {
        let mut reader = Reader::new(file.as_slice());
        let packets: Vec<_> = std::iter::from_fn(|| reader.packet().unwrap()).collect();
        let lengths: Vec<_> = packets.iter().map(|p| (p.link, p.bytes.len(), p.length)).collect();
        assert_eq!(lengths, [(link, len, len); 6]);
        assert_eq!(reader.dropped(), Some(0));
    }
    a.end_clean();
    b.end_clean();
}

#[test]
fn links_and_modules_are_listed() {
    let [(host, _), _other] = two_hosts(false);
    let mut c = host.client();
    let links = c.links().unwrap();
    let overlay = links.iter().find(|l| l.name.as_deref() == Some("overlay0")).unwrap();
    assert_eq!(
        (overlay.class.as_str(), overlay.mtu, overlay.state.as_str()),
        ("overlay", 1400, "up")
    );
    let vnic = links.iter().find(|l| l.name.as_deref() == Some("vnic0")).unwrap();
    assert_eq!((vnic.class.as_str(), vnic.over.as_deref()), ("vnic", Some("overlay0")));
    assert_eq!(vnic.mac, "2:8:20:aa:0:1");
    let modules = c.modinfo().unwrap();
    let names: Vec<_> = modules.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["drv/overlay", "overlay/vxlan", "drv/ipnet"]);
    assert_eq!(c.violations().unwrap(), [] as [String; 0]);
    host.end_clean();
}

/// Not a test of its own: the program that the next one kills while it has a lookup to answer.
#[test]
fn victim() {
    let Some(root) = std::env::var_os("FAKEKERNELD_TEST_VICTIM") else { return };
    let targets = open_targets(&crate::common::root(root));
    let mut lookup = overlay_targ_lookup_t::new_zeroed();
    while targets.ioctl_with(OVERLAY_TARG_LOOKUP, &mut lookup).is_err() {}
    println!("has a lookup");
    std::thread::sleep(Duration::from_secs(60));
}

fn open_targets(root: &Root) -> Device {
    Device::open(root, "/dev/overlay", OpenFlags::RDWR | OpenFlags::EXCL).unwrap()
}

#[test]
fn lookups_of_a_program_that_is_killed_are_for_the_next() {
    let ends = [loopback(), loopback()];
    let hosts = [0, 1].map(|n| {
        let host = Host::start();
        // Only the first asks; its overlay is associated by a program that then leaves.
        let overlay = host.overlay("overlay0", 5, ends[n], (n == 1).then_some(ends[0]));
        host.vnic("vnic0", overlay.linkid, [2, 8, 0x20, 0xaa, 0, 1 + n as u8]);
        host.client().guest_attach("vnic0", [format!("10.1.0.{}/24", n + 1)]).unwrap();
        host
    });
    let host = &hosts[0];
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "traffic::victim", "--nocapture"])
        .env("FAKEKERNELD_TEST_VICTIM", host.root.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let pings = s.spawn(|| {
            let ping = Ping { timeout_ms: 4000, ..ping("10.1.0.2", 1, 56) };
            host.client().guest_ping(ping).unwrap()
        });
        let out = BufReader::new(victim.stdout.take().unwrap());
        assert!(out.lines().any(|l| l.unwrap().contains("has a lookup")));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        let next = loop {
            // The kernel learns of a death when it finds the connection closed.
            let flags = OpenFlags::RDWR | OpenFlags::EXCL;
            match Device::open(&host.root, "/dev/overlay", flags) {
                Ok(d) => break d,
                Err(e) => assert!(e.errno == Errno::EEXIST && Instant::now() < deadline, "{e}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // The one it had comes first, at once.
        let before = Instant::now();
        let mut lookup = overlay_targ_lookup_t::new_zeroed();
        next.ioctl_with(OVERLAY_TARG_LOOKUP, &mut lookup).unwrap();
        assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
        respond(&next, &lookup, point(ends[1]));
        let (to, stop) = (point(ends[1]), &stop);
        s.spawn(move || answer(&next, to, stop));
        let r = pings.join();
        stop.store(true, Ordering::SeqCst);
        assert_eq!(r.unwrap().received, 1);
    });
    hosts.into_iter().for_each(Host::end_clean);
}
