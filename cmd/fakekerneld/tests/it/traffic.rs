// SPDX-License-Identifier: CDDL-1.0
//! Frames between the guests of two hosts, each host a process.

use std::io::Read;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{Host, loopback, point, two_hosts};
use fkadm::proto::{Capture, GuestKind, KstatFilter, Ping, TcpSend, UNDERLAY};
use libdladm::{Handle, vnic};
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
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
                s.spawn(move || answer(overlay, point(to), stop));
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

fn answer(overlay: &crate::common::Overlay, to: overlay_target_point_t, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let mut lookup = overlay_targ_lookup_t::new_zeroed();
        match overlay.targets.ioctl_with(OVERLAY_TARG_LOOKUP, &mut lookup) {
            Ok(_) => {
                let mut response = overlay_targ_resp_t::new_zeroed();
                response.otr_reqid = lookup.otl_reqid;
                response.otr_answer = to;
                overlay.targets.ioctl_with(OVERLAY_TARG_RESPOND, &mut response).unwrap();
            }
            Err(e) => assert_eq!(e, Errno::ETIME),
        }
    }
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
fn captures_are_pcap_files() {
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
        a.client().guest_ping(ping("10.1.0.2", 3, 100)).unwrap();
        files.extend(captures.into_iter().map(|c| c.join().unwrap()));
    });
    let frame = 14 + 20 + 8 + 100;
    for (file, link, len) in
        [(&files[0], 1, frame), (&files[1], 1, frame), (&files[2], 101, 36 + frame)]
    {
        let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(20)), (0xa1b2_3c4d, link));
        let mut at = 24;
        for n in 0..6 {
            assert_eq!((word(at + 8), word(at + 12)), (len, len), "packet {n} of {link}");
            at += 16 + len as usize;
        }
        assert_eq!(at, file.len());
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
    assert_eq!(names, ["drv/overlay", "overlay/vxlan"]);
    assert_eq!(c.violations().unwrap(), [] as [String; 0]);
    host.end_clean();
}
