// SPDX-License-Identifier: CDDL-1.0
//! A stream from open to close.
use crate::common::*;
use fakekernel::host::{Cred, Fault, Model, UserMem};
use fakekernel::inet::ip::{Family, Interface, Untold};
use fakekernel::inet::netstack::{IpType, zone_boot, zone_halt};
use fakekernel::streams::Message;
use ipnet::dlpi::Mode;
use overlay_abi::errno::Errno;
use std::net::Ipv4Addr;

#[test]
fn what_snoop_does() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.open("/dev/ipnet/net0");
    // DL_PASSIVE_REQ is not known, which libdlpi ignores.
    assert_eq!(tap.ask(&[0x114]), [5, 0x114, 9, 0]);
    assert_eq!(tap.ioctl(DLIOCRAW, 0), Ok(0));
    assert_eq!(tap.info(1), Ok(1));
    assert_eq!(tap.ask(&[0])[..9], [3, 0x7fff_ffff, 0, 2, 0x8000_0005, 0, 0, 2, 2]);
    tap.bind(0);
    tap.on(PHYS);
    tap.on(SAP);
    assert_eq!(tap.ioctl(I_FLUSH, FLUSHR), Ok(0));
    show(&net0, incoming(0), &echo(7));
    let seen = tap.packet().unwrap();
    let index = net0.index() as u8;
    let header =
        [1, 2, 0, 0, 0, 0, 0, 64, 0, 0, 0, index, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0];
    assert_eq!(seen[..24], header);
    assert_eq!(seen[24..], echo(7));
    show(&net0, outgoing(0), &packet6(MINE6, FAR6));
    let seen = tap.packet().unwrap();
    assert_eq!(seen[1..4], [26, 0, 1]);
    assert_eq!(seen[24..], packet6(MINE6, FAR6));
    assert_eq!(tap.info(0), Ok(1));
    show(&net0, incoming(0), &echo(8));
    assert_eq!(tap.packet().unwrap(), echo(8));
    drop((tap, net0));
    rig.end();
}

#[test]
fn lo0_shows_what_stays_in_the_host() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.open("/dev/lo0");
    tap.bind(0);
    show(&net0, incoming(0), &echo(1));
    show(&net0, outgoing(0), &echo(2));
    show(&net0, local(0, 0), &echo(3));
    assert_eq!(number(&tap.packet().unwrap()), 3);
    tap.silent();
    tap.bind(6);
    show(&net0, local(0, 0), &echo(4));
    show(&net0, local(0, 0), &packet6(MINE6, MINE6));
    assert_eq!(tap.packet().unwrap(), packet6(MINE6, MINE6));
    drop((tap, net0));
    rig.end();
}

#[test]
fn the_packet_is_ips_alone_afterwards() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let (a, b) = (rig.snoop("/dev/ipnet/net0"), rig.snoop("/dev/ipnet/net0"));
    let mp = fakekernel::mblk::from_slice(&echo(1), 0);
    // SAFETY: a message of ours.
    unsafe {
        net0.observe_message(family_of(&echo(1)), incoming(0), mp);
        assert_eq!((*(*mp).b_datap).db_ref, 1);
        // IP changes it, and those who saw it do not see that.
        *(*mp).b_rptr.add(24) = 0xff;
        illumos_sys_hdrs::freemsg(mp);
    }
    assert_eq!([number(&a.packet().unwrap()), number(&b.packet().unwrap())], [1, 1]);
    drop((a, b, net0));
    rig.end();
}

#[test]
fn ioctls_that_are_not_known_are_refused() {
    let rig = Rig::boot();
    let tap = rig.open("/dev/lo0");
    for cmd in [0x4402, 0x4403, 0x4405, 0x7000] {
        assert_eq!(tap.ioctl(cmd, 0), Err(Errno::EINVAL));
    }
    for value in [3, -1, i32::MAX] {
        assert_eq!(tap.info(value), Err(Errno::EINVAL));
    }
    drop(tap);
    rig.end();
}

/// An `I_STR` of a command with `data`.
fn i_str(tap: &Tap, cmd: i32, data: &[u8]) -> Result<i32, Errno> {
    let mut arg = Vec::new();
    for word in [cmd, 5, data.len() as i32, 0] {
        arg.extend(word.to_ne_bytes());
    }
    arg.extend((data.as_ptr() as u64).to_ne_bytes());
    tap.ioctl(0x5308, arg.as_ptr() as u64)
}

#[test]
fn info_by_i_str_is_refused_and_raw_is_not() {
    let rig = Rig::boot();
    let tap = rig.open("/dev/lo0");
    assert_eq!(i_str(&tap, DLIOCIPNETINFO, &1i32.to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(i_str(&tap, DLIOCRAW, &[]), Ok(0));
    drop(tap);
    rig.end();
}

/// A caller whose memory is not there.
struct NoMem;

impl UserMem for NoMem {
    fn copyin(&self, _: u64, _: &mut [u8]) -> Result<(), Fault> {
        Err(Fault)
    }
    fn copyout(&self, _: u64, _: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }
}

#[test]
fn w01_an_argument_that_is_not_there_is_the_callers_fault() {
    let rig = Rig::boot();
    let tap = rig.open("/dev/lo0");
    for _ in 0..3 {
        let failed = tap.0.ioctl(DLIOCIPNETINFO, 0x1000, Model::Lp64, &NoMem);
        assert_eq!(failed, Err(Errno::EFAULT));
    }
    assert_eq!(tap.info(1), Ok(1), "the stream works on");
    drop(tap);
    rig.end();
}

#[test]
fn w06_short_and_strange_requests() {
    let rig = Rig::boot();
    let tap = rig.open("/dev/lo0");
    for len in 0..4 {
        tap.send(&vec![0; len]);
    }
    tap.silent();
    for len in 4..200 {
        assert_eq!(tap.ask_bytes(&vec![0xff; len]).len(), 16);
    }
    // Each primitive, as long as the stream head takes: the answer is that of the pure part, and of the
    // stream nothing changes but what that says.
    let mut mode = Mode::default();
    for primitive in (0..0x40_u32).chain([0x100, 0x110, 0x114, u32::MAX]) {
        for len in (4..40).chain([64, 65, 1023, 1024]) {
            let mut request = vec![(len % 8) as u8; len];
            request[..4].copy_from_slice(&primitive.to_ne_bytes());
            let step = ipnet::dlpi::step(mode, true, &request).unwrap();
            assert_eq!(tap.ask_bytes(&request), step.reply.encode().as_ref());
            mode = step.mode;
        }
    }
    let long = Message { high: false, control: Some(vec![0; 1025]), data: None };
    assert_eq!(tap.stream().putmsg(&long), Err(Errno::ERANGE));
    // Data is nobody's.
    tap.stream().putmsg(&Message { high: false, control: None, data: Some(vec![1; 9]) }).unwrap();
    tap.silent();
    drop(tap);
    rig.end();
}

#[test]
fn who_may_open() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    for path in ["/dev/lo0", "/dev/ipnet/net0"] {
        let cred = Cred { observability: false, ..Cred::KERNEL };
        assert_eq!(rig.kernel.open(path, FREAD, &cred).err(), Some(Errno::EACCES));
    }
    assert_eq!(rig.open_as("/dev/ipnet/net1", 0).err(), Some(Errno::ENOENT));
    drop(net0);
    rig.end();
}

#[test]
fn a_stream_is_hung_up_when_its_interface_goes() {
    let rig = Rig::boot();
    let (net0, other) = (rig.net0(), rig.open("/dev/lo0"));
    let tap = rig.snoop("/dev/ipnet/net0");
    show(&net0, incoming(0), &echo(1));
    net0.unplumb(Family::V4);
    settle();
    assert_eq!(number(&tap.packet().unwrap()), 1);
    tap.silent();
    drop(net0);
    tap.hung_up();
    other.silent();
    assert_eq!(rig.open_as("/dev/ipnet/net0", 0).err(), Some(Errno::ENOENT));
    drop((tap, other));
    rig.end();
}

/// Somebody else's net0 comes in place of the first, and the driver is told of nothing yet.
#[test]
fn what_is_told_late_hangs_up_nobody_of_the_interface_that_came_after() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let old = rig.snoop("/dev/ipnet/net0");
    let untold = Untold::hold();
    drop(net0);
    let net0 = Interface::new(0, "net0", false).unwrap();
    net0.up(MINE.into(), 24, 0).unwrap();
    let new = rig.snoop("/dev/ipnet/net0");
    old.hung_up();
    show(&net0, incoming(0), &echo(1));
    assert_eq!(number(&new.packet().unwrap()), 1);
    drop(untold);
    settle();
    new.silent();
    show(&net0, incoming(0), &echo(2));
    assert_eq!(number(&new.packet().unwrap()), 2);
    drop((old, new, net0));
    rig.end();
}

#[test]
fn an_interface_that_all_families_left_for_a_moment_is_another() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let old = rig.snoop("/dev/ipnet/net0");
    let was = net0.index();
    net0.unplumb(Family::V4);
    net0.unplumb(Family::V6);
    net0.up(MINE.into(), 24, 0).unwrap();
    assert_ne!(net0.index(), was);
    old.hung_up();
    let new = rig.snoop("/dev/ipnet/net0");
    show(&net0, incoming(0), &echo(1));
    assert_eq!(number(&new.packet().unwrap()), 1);
    drop((old, new, net0));
    rig.end();
}

#[test]
fn names_are_only_names() {
    let rig = Rig::boot();
    let long = "n".repeat(30);
    let names = ["..", "%s%n", "net0 ", "net0\n", &format!("{long}0"), &format!("{long}1")];
    let all: Vec<Interface> = names
        .iter()
        .zip(1..)
        .map(|(name, n)| {
            let i = Interface::new(0, name, false).unwrap();
            i.up(Ipv4Addr::new(10, 0, n, 1).into(), 24, 0).unwrap();
            i
        })
        .collect();
    for ((name, i), n) in names.iter().zip(&all).zip(1..) {
        let tap = rig.snoop(&format!("/dev/ipnet/{name}"));
        show(i, incoming(0), &packet(FAR, Ipv4Addr::new(10, 0, n, 1), 64, n.into()));
        assert_eq!(number(&tap.packet().unwrap()), n.into(), "{name:?}");
    }
    for name in ["net0", "", &long, &format!("{long}00")] {
        let refused = rig.open_as(&format!("/dev/ipnet/{name}"), 0).err();
        assert_eq!(refused, Some(Errno::ENOENT), "{name:?}");
    }
    drop(all);
    rig.end();
}

#[test]
fn a_zone_has_so_many_streams_and_no_more() {
    const ZONE: i32 = 5;
    let rig = Rig::boot();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let mut all: Vec<Tap> = (0..ipnet::TICKETS).map(|_| rig.open("/dev/lo0")).collect();
    assert_eq!(rig.open_as("/dev/lo0", 0).err(), Some(Errno::ENOSR));
    // Others have theirs.
    drop(rig.open_as("/dev/lo0", ZONE).unwrap());
    all.pop();
    all.push(rig.open("/dev/lo0"));
    assert_eq!(rig.open_as("/dev/lo0", 0).err(), Some(Errno::ENOSR));
    drop(all);
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn nobody_looks_and_ip_does_not_show() {
    use fakekernel::inet::ip::Family::{V4, V6};
    let rig = Rig::boot();
    let net0 = rig.net0();
    assert!(!net0.observed(V4) && !net0.observed(V6));
    let tap = rig.open("/dev/ipnet/net0");
    let more = rig.open("/dev/lo0");
    assert!(net0.observed(V4) && net0.observed(V6));
    drop(tap);
    assert!(net0.observed(V4));
    drop(more);
    assert!(!net0.observed(V4) && !net0.observed(V6));
    drop(net0);
    rig.end();
}
