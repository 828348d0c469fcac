// SPDX-License-Identifier: CDDL-1.0
//! What a program and the network do to a stream of ipnet: `[node] ([kind] [length] [bytes])*`, where a kind is a DLPI
//! request, an ioctl, an I_STR, a packet or a flush.
//!
//! The driver answers each request and shows each packet as its pure parts say for the stream's state, whatever came
//! before, and the kernel has nothing to complain of.
#![no_main]

use fakekernel::host::{self, Cred, Model, OpenDev, SelfMem, StaticModule};
use fakekernel::inet::ip::{self, Direction, Family, Interface, Seen};
use fakekernel::kstat::{self, Value};
use fakekernel::streams::{Got, Message};
use ipnet::accept::{Addresses, Ends, Filter, Place, V4, V6, accept};
use ipnet::dlpi::{Mode, step};
use ipnet::header::{self, Header};
use ipnet::ioctl;
use libfuzzer_sys::fuzz_target;
use overlay_abi::errno::Errno;
use std::ffi::{c_char, c_void};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const MINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const MINE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const I_STR: i32 = 0x5308;
const I_FLUSH: i32 = 0x5305;
/// The stream head takes no longer request.
const CONTROL_MAX: usize = 1024;

type WalkFn = unsafe extern "C" fn(*const c_char, *mut c_void, u64);

unsafe extern "C" {
    fn ipnet_if_getdev(name: *mut c_char, zone: i32) -> u64;
    fn ipnet_walk_if(f: WalkFn, arg: *mut c_void, zone: i32);
}

/// The stream, and what is known of it.
struct Tap {
    dev: OpenDev,
    net0: Interface,
    addresses: Addresses,
    lo: bool,
    mode: Mode,
}

fuzz_target!(|data: &[u8]| {
    let Some((&node, mut rest)) = data.split_first() else { return };
    let kernel = host::boot(host::Config::default());
    let m = ipnet::module();
    kernel.register_module(StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info });
    let exports = [
        ("ipnet_if_getdev", ipnet_if_getdev as *const () as usize),
        ("ipnet_walk_if", ipnet_walk_if as *const () as usize),
    ];
    kernel.register_exports(m.name, &exports);
    kernel.modload(m.name).expect("it loads");
    let net0 = Interface::new(0, "net0", false).expect("a name");
    net0.up(MINE.into(), 24, 0).expect("an address");
    net0.up(MINE6.into(), 64, 0).expect("an address");
    ip::settle();
    let lo = node % 2 == 0;
    let path = if lo { "/dev/lo0" } else { "/dev/ipnet/net0" };
    let dev = kernel.open(path, 3, &Cred::KERNEL).expect("it opens");
    let mut addresses = Addresses::default();
    let broadcast = [10, 0, 0, 255];
    let flag = ddi::mem::KmFlag::Sleep;
    addresses.v4.push(V4 { addr: MINE.octets(), broadcast, zone: 0 }, flag).expect("memory");
    addresses.v6.push(V6 { addr: MINE6.octets(), zone: 0 }, flag).expect("memory");
    let mut tap = Tap { dev, net0, addresses, lo, mode: Mode::default() };
    while let Some(([kind, len], more)) = rest.split_first_chunk() {
        let (bytes, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        match kind % 5 {
            0 => tap.request(bytes),
            1 => tap.ioctl(bytes),
            2 => tap.i_str(bytes),
            3 => tap.packet(bytes),
            _ => tap.flush(bytes),
        }
    }
    drop(tap);
    kernel.shutdown().expect("no rule broken, nothing leaked");
});

impl Tap {
    fn request(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(CONTROL_MAX)];
        let stream = self.dev.stream().expect("a stream");
        let m = Message { high: false, control: Some(bytes.to_vec()), data: None };
        stream.putmsg(&m).expect("room");
        let Some(step) = step(self.mode, self.lo, bytes) else { return };
        self.mode = step.mode;
        let answer = loop {
            match stream.getmsg(Some(Duration::from_secs(20))).expect("no error") {
                Got::Message(Message { control: Some(answer), .. }) => break answer,
                // A packet of before.
                Got::Message(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer, step.reply.encode().as_ref());
    }

    fn ioctl(&mut self, bytes: &[u8]) {
        let Some((cmd, rest)) = bytes.split_first_chunk() else { return };
        let mut arg = [0; 4];
        arg.iter_mut().zip(rest).for_each(|(a, b)| *a = *b);
        let cmd = i32::from_ne_bytes(*cmd);
        // Those of the stream head read more than is there.
        if (0x5301..=0x53ff).contains(&cmd) {
            return;
        }
        let want = match ioctl::request(cmd, ioctl::TRANSPARENT) {
            ioctl::Request::Ack => Ok(0),
            ioctl::Request::CopyIn => {
                let argument = ioctl::argument(cmd, &arg).ok_or(Errno::EINVAL);
                argument.map(|(front, value)| {
                    self.mode.front = front;
                    value
                })
            }
            ioctl::Request::Nak => Err(Errno::EINVAL),
        };
        let at = arg.as_ptr() as u64;
        assert_eq!(self.dev.ioctl(cmd, at, Model::Lp64, &SelfMem), want);
    }

    fn i_str(&self, bytes: &[u8]) {
        let Some((cmd, data)) = bytes.split_first_chunk() else { return };
        let mut arg =
            [*cmd, 5i32.to_ne_bytes(), (data.len() as i32).to_ne_bytes(), [0; 4]].concat();
        arg.extend((data.as_ptr() as u64).to_ne_bytes());
        let got = self.dev.ioctl(I_STR, arg.as_ptr() as u64, Model::Lp64, &SelfMem);
        let raw = i32::from_ne_bytes(*cmd) == ioctl::DLIOCRAW;
        assert_eq!(got, if raw { Ok(0) } else { Err(Errno::EINVAL) });
    }

    fn packet(&self, bytes: &[u8]) {
        let Some(([how, zone, cut], packet)) = bytes.split_first_chunk() else { return };
        if packet.is_empty() {
            return;
        }
        let (family, number) = match how & 1 {
            0 => (Family::V4, header::AF_INET),
            _ => (Family::V6, header::AF_INET6),
        };
        let (direction, told) = match how >> 1 & 3 {
            0 => (Direction::In, header::Direction::In),
            1 => (Direction::Out, header::Direction::Out),
            _ => (Direction::Local, header::Direction::Local),
        };
        let (from_zone, to_zone) = (i32::from(zone >> 4) - 1, i32::from(zone & 15) - 1);
        let group = u32::from(how >> 4);
        let before = accepted();
        let (first, second) = packet.split_at(usize::from(*cut).min(packet.len()));
        // SAFETY: blocks of ours, linked and freed here.
        unsafe {
            let mp = fakekernel::mblk::from_slice(first, 0);
            illumos_sys_hdrs::linkb(mp, fakekernel::mblk::from_slice(second, 0));
            self.net0.observe_message(family, Seen { direction, from_zone, to_zone, group }, mp);
            illumos_sys_hdrs::freemsg(mp);
        }
        let ends = Ends::read(number, |at, buf| {
            let bytes = packet.get(at..at + buf.len());
            bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
        });
        let header = Header {
            family: number,
            direction: Some(told),
            len: packet.len() as u32,
            ifindex: self.net0.index(),
            group,
            zsrc: from_zone,
            zdst: to_zone,
        };
        let sees = self.mode.family().zip(ends).is_some_and(|(family, ends)| {
            let place = match self.lo {
                true => Place::Lo0,
                false => Place::On { index: self.net0.index(), addresses: &self.addresses },
            };
            let sap = self.mode.sap || !self.lo && family == 0;
            let filter = Filter { zone: 0, family, phys: self.mode.phys, sap };
            accept(&filter, place, &header, &ends)
        });
        assert_eq!(accepted() - before, u64::from(sees));
    }

    fn flush(&self, bytes: &[u8]) {
        let what = u64::from(bytes.first().copied().unwrap_or(1));
        let flushed = self.dev.ioctl(I_FLUSH, what, Model::Lp64, &SelfMem);
        assert_eq!(flushed, if (1..=3).contains(&what) { Ok(0) } else { Err(Errno::EINVAL) });
    }
}

fn accepted() -> u64 {
    let stats = kstat::read(Some("ipnet"), Some(0), Some("ipnet_stats")).pop().expect("statistics");
    let (_, value) = stats.data.into_iter().find(|(name, _)| name == "acceptOk").expect("counted");
    let Value::U64(n) = value else { panic!("{value:?}") };
    n
}
