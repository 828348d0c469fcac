// SPDX-License-Identifier: CDDL-1.0
//! A booted kernel with the driver loaded, interfaces, streams, and packets to look at.
use crate::modules;
use fakekernel::host::{self, Cred, Kernel, Model, OpenDev, SelfMem};
use fakekernel::inet::ip::{Direction, Family, Interface, Seen, UNKNOWN_ZONE};
use fakekernel::kstat::{self, Value};
use fakekernel::streams::{Got, Message, Stream};
use overlay_abi::errno::Errno;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const FREAD: i32 = 1;
pub const FWRITE: i32 = 2;
/// Time for what must happen.
pub const SOON: Duration = Duration::from_secs(30);
/// Time for what must not happen.
pub const A_WHILE: Duration = Duration::from_millis(60);

pub const DLIOCRAW: i32 = 0x4401;
pub const DLIOCIPNETINFO: i32 = 0x4404;
pub const I_FLUSH: i32 = 0x5305;
pub const FLUSHR: u64 = 1;

pub const BIND: u32 = 1;
pub const PROMISCON: u32 = 0x1f;
pub const PROMISCOFF: u32 = 0x20;
pub const PHYS: u32 = 1;
pub const SAP: u32 = 2;
pub const MULTI: u32 = 3;

/// Of net0 and of somebody else.
pub const MINE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
pub const MINE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x63);

/// The kernel. Shut it down with [`Rig::end`], which looks for violations and leaks.
pub struct Rig {
    pub kernel: Kernel,
}

impl Rig {
    pub fn boot() -> Rig {
        Rig::boot_with(host::Config::default())
    }

    pub fn boot_with(config: host::Config) -> Rig {
        let kernel = host::boot(config);
        modules::register(&kernel);
        kernel.modload("drv/ipnet").unwrap();
        modules::ipnet_allmulti().store(0, Ordering::Relaxed);
        modules::ipnet_unbound().store(0, Ordering::Relaxed);
        Rig { kernel }
    }

    /// Everything must be gone, and no rule broken.
    pub fn end(self) {
        if let Err(violations) = self.kernel.shutdown() {
            for v in &violations {
                eprintln!("{v}");
            }
            panic!("{} violations", violations.len());
        }
    }

    /// An interface of the global zone with the addresses above, of which the driver was told.
    pub fn net0(&self) -> Interface {
        let net0 = Interface::new(0, "net0", false).unwrap();
        net0.up(MINE.into(), 24, 0).unwrap();
        net0.up(MINE6.into(), 64, 0).unwrap();
        settle();
        net0
    }

    pub fn open_as(&self, path: &str, zone: i32) -> Result<Tap, Errno> {
        let cred = Cred { zoneid: zone, ..Cred::KERNEL };
        Ok(Tap(self.kernel.open(path, FREAD | FWRITE, &cred)?))
    }

    pub fn open(&self, path: &str) -> Tap {
        self.open_as(path, 0).unwrap()
    }

    /// A stream set up as snoop does it.
    pub fn snoop(&self, path: &str) -> Tap {
        let tap = self.open(path);
        tap.bind(0);
        tap.on(PHYS);
        tap.on(SAP);
        tap
    }
}

/// An open stream.
pub struct Tap(pub OpenDev);

impl Tap {
    pub fn stream(&self) -> &Stream {
        self.0.stream().unwrap()
    }

    /// Sends a request down, and waits for the answer.
    pub fn ask_bytes(&self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        loop {
            match self.stream().getmsg(Some(SOON)).unwrap() {
                Got::Message(Message { high: true, control: Some(answer), .. }) => return answer,
                // Packets that came before it.
                Got::Message(Message { control: None, .. }) => {}
                other => panic!("{other:?} is no answer"),
            }
        }
    }

    pub fn send(&self, request: &[u8]) {
        let m = Message { high: false, control: Some(request.to_vec()), data: None };
        self.stream().putmsg(&m).unwrap();
    }

    pub fn ask(&self, words: &[u32]) -> Vec<u32> {
        let request: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let answer = self.ask_bytes(&request);
        answer.chunks_exact(4).map(|w| u32::from_ne_bytes(w.try_into().unwrap())).collect()
    }

    pub fn bind(&self, sap: u32) {
        assert_eq!(self.ask(&[BIND, sap, 0, 0, 0])[..2], [4, sap]);
    }

    pub fn on(&self, level: u32) {
        assert_eq!(self.ask(&[PROMISCON, level]), [6, PROMISCON]);
    }

    pub fn off(&self, level: u32) {
        assert_eq!(self.ask(&[PROMISCOFF, level]), [6, PROMISCOFF]);
    }

    pub fn ioctl(&self, cmd: i32, arg: u64) -> Result<i32, Errno> {
        self.0.ioctl(cmd, arg, Model::Lp64, &SelfMem)
    }

    /// Headers on or off.
    pub fn info(&self, on: i32) -> Result<i32, Errno> {
        self.ioctl(DLIOCIPNETINFO, (&raw const on) as u64)
    }

    /// The next packet; `None` after a hang-up.
    pub fn packet(&self) -> Option<Vec<u8>> {
        match self.stream().getmsg(Some(SOON)).unwrap() {
            Got::Message(Message { control: None, data: Some(data), .. }) => Some(data),
            Got::Hangup => None,
            other => panic!("{other:?} is no packet"),
        }
    }

    /// Nothing comes.
    pub fn silent(&self) {
        assert_eq!(self.stream().getmsg(Some(A_WHILE)).unwrap(), Got::Nothing);
    }

    pub fn hung_up(&self) {
        assert_eq!(self.stream().getmsg(Some(SOON)).unwrap(), Got::Hangup);
    }

    /// Reads packets until none comes any more.
    pub fn drain(&self) -> usize {
        self.read_for(A_WHILE)
    }

    /// Reads packets until none has come for so long.
    pub fn read_for(&self, patience: Duration) -> usize {
        let mut packets = 0;
        while let Got::Message(m) = self.stream().getmsg(Some(patience)).unwrap() {
            assert!(m.data.is_some());
            packets += 1;
        }
        packets
    }
}

/// An IPv4 packet of `len` bytes with the number `n` in it.
pub fn packet(src: Ipv4Addr, dst: Ipv4Addr, len: usize, n: u32) -> Vec<u8> {
    let mut p = vec![0; len.max(28)];
    let total = p.len() as u16;
    p[0] = 0x45;
    p[2..4].copy_from_slice(&total.to_be_bytes());
    p[12..16].copy_from_slice(&src.octets());
    p[16..20].copy_from_slice(&dst.octets());
    p[24..28].copy_from_slice(&n.to_be_bytes());
    p
}

/// The number in a packet.
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[24..28].try_into().unwrap())
}

pub fn packet6(src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut p = vec![0; 60];
    p[0] = 0x60;
    p[5] = 20;
    p[8..24].copy_from_slice(&src.octets());
    p[24..40].copy_from_slice(&dst.octets());
    p
}

pub fn family_of(packet: &[u8]) -> Family {
    if packet[0] >> 4 == 6 { Family::V6 } else { Family::V4 }
}

/// Received from a link, for a zone.
pub fn incoming(zone: i32) -> Seen {
    Seen { direction: Direction::In, from_zone: UNKNOWN_ZONE, to_zone: zone, group: 0 }
}

/// Received from a link, for nobody here.
pub const TRANSIT: Seen =
    Seen { direction: Direction::In, from_zone: UNKNOWN_ZONE, to_zone: UNKNOWN_ZONE, group: 0 };

pub fn outgoing(zone: i32) -> Seen {
    Seen { direction: Direction::Out, from_zone: zone, to_zone: UNKNOWN_ZONE, group: 0 }
}

pub fn local(from: i32, to: i32) -> Seen {
    Seen { direction: Direction::Local, from_zone: from, to_zone: to, group: 0 }
}

/// Shows a packet of the interface.
pub fn show(interface: &Interface, seen: Seen, packet: &[u8]) {
    interface.observe(family_of(packet), seen, packet);
}

/// From somebody else to us.
pub fn echo(n: u32) -> Vec<u8> {
    packet(FAR, MINE, 64, n)
}

/// Waits until every NIC event was told and looked at: an open asks for the interfaces as they are.
pub fn settle() {
    fakekernel::inet::ip::settle();
}

fn values(name: &str, instance: i32) -> BTreeMap<String, u64> {
    let value = |(name, value)| match value {
        Value::U64(n) => (name, n),
        other => panic!("{name} is {other:?}"),
    };
    let found = kstat::read(Some("ipnet"), Some(instance), Some(name));
    found.into_iter().flat_map(|k| k.data).map(value).collect()
}

/// The counters of a stack, whose instances fakekernel counts from a million times its number.
pub fn stats(stack: i32) -> BTreeMap<String, u64> {
    values("ipnet_stats", stack * 1_000_000)
}

/// Those of all streams: accepted, delivered, dropped.
pub fn stream_stats() -> Vec<[u64; 3]> {
    let found = kstat::read(Some("ipnet"), None, Some("stream"));
    let all = found.into_iter().map(|k| values("stream", k.instance));
    all.map(|s| ["accepted", "delivered", "dropped"].map(|name| s[name])).collect()
}

/// Waits until `f` holds.
pub fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !f() {
        assert!(begin.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
