// SPDX-License-Identifier: CDDL-1.0
//! Arguments of the ioctls of /dev/overlay, in both versions and both data models: `([what] [command] [length]
//! [argument])*`.
//!
//! The caller's memory is the argument and nothing else: what the driver reads beyond is a fault, and so is what it
//! writes. Errors are those that the ioctls have, a fault changes nothing that a walk would show, and the kernel has
//! nothing to complain of.
#![no_main]

use fakekernel::host::{Fault, Model, OpenDev, UserMem};
use fuzz::{GUEST, LINK, ROUTER, Rig};
use libfuzzer_sys::fuzz_target;
use overlay_abi::errno::Errno;
use overlay_abi::target::v2::{OVERLAY_TARG_CACHE_REMOVE_NET, OVERLAY_TARG_ROUTE_ITER};
use overlay_abi::target::*;
use std::sync::Mutex;

/// Where the argument is.
const AT: u64 = 0x10000;

const COMMANDS: [u32; 20] = [
    OVERLAY_TARG_INFO,
    OVERLAY_TARG_ASSOCIATE,
    OVERLAY_TARG_DISASSOCIATE,
    OVERLAY_TARG_DEGRADE,
    OVERLAY_TARG_RESTORE,
    OVERLAY_TARG_LOOKUP,
    OVERLAY_TARG_RESPOND,
    OVERLAY_TARG_DROP,
    OVERLAY_TARG_INJECT,
    OVERLAY_TARG_PKT,
    OVERLAY_TARG_RESEND,
    OVERLAY_TARG_LIST,
    OVERLAY_TARG_CACHE_GET,
    OVERLAY_TARG_CACHE_SET,
    OVERLAY_TARG_CACHE_REMOVE,
    OVERLAY_TARG_CACHE_FLUSH,
    OVERLAY_TARG_CACHE_ITER,
    OVERLAY_TARG_CACHE_REMOVE_NET,
    OVERLAY_TARG_ROUTE_ITER,
    OVERLAY_TARG_ABI,
];

/// The caller's memory.
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn range(&self, addr: u64, len: usize) -> Result<std::ops::Range<usize>, Fault> {
        let all = self.0.lock().unwrap().len();
        let from = addr.checked_sub(AT).and_then(|n| usize::try_from(n).ok()).ok_or(Fault)?;
        let to = from.checked_add(len).filter(|to| *to <= all).ok_or(Fault)?;
        Ok(from..to)
    }
}

impl UserMem for Memory {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        let range = self.range(addr, buf.len())?;
        buf.copy_from_slice(&self.0.lock().unwrap()[range]);
        Ok(())
    }

    fn copyout(&self, addr: u64, bytes: &[u8]) -> Result<(), Fault> {
        let range = self.range(addr, bytes.len())?;
        self.0.lock().unwrap()[range].copy_from_slice(bytes);
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let rig = Rig::boot();
    let mut asked = 0;
    while let Some(([what, command, len], more)) = rest.split_first_chunk() {
        let (bytes, more) = more.split_at(usize::from(*len).min(more.len()));
        rest = more;
        if what & 0x40 != 0 {
            // What makes questions and routes.
            let tail = if what & 0x20 == 0 { bytes } else { &FRAME[..] };
            rig.send(&[&[&ROUTER[..], &GUEST, tail, &[0; 2]].concat()]);
        } else {
            ioctl(&rig, *what, *command, bytes, &mut asked);
        }
    }
    rig.end();
});

/// `[type] [IPv4 packet]`
const FRAME: [u8; 24] =
    [8, 0, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 1, 5, 10, 0, 2, 9, 0, 0];

/// Bits of `what`: 0 the data model, 1 the handle, 2 with the link's number in front, 3 room behind for a walk, 4 the
/// memory ends where the argument does not. `asked`: questions put so far.
fn ioctl(rig: &Rig, what: u8, command: u8, bytes: &[u8], asked: &mut u64) {
    let cmd = match COMMANDS.get(usize::from(command)) {
        Some(cmd) => *cmd,
        None => OVERLAY_TARG_IOCTL | u32::from(command),
    };
    // Nobody waits a second for what is not there.
    if cmd == OVERLAY_TARG_LOOKUP && rig.counter("lookups_outstanding") <= *asked {
        return;
    }
    let model = if what & 1 == 0 { Model::Lp64 } else { Model::Ilp32 };
    let dev: &OpenDev = if what & 2 == 0 { &rig.varpd } else { &rig.reader };
    let mut memory = bytes.to_vec();
    if what & 4 != 0 && memory.len() >= 4 {
        memory[..4].copy_from_slice(&LINK.to_ne_bytes());
    }
    if what & 8 != 0 {
        memory.resize(memory.len() + 4096, 0);
    }
    if what & 16 != 0 {
        memory.truncate(memory.len() / 2);
    }
    private(&mut memory, cmd);
    let memory = Memory(Mutex::new(memory));
    let result = dev.ioctl(cmd as i32, AT, model, &memory);
    let known = [
        Errno::EINVAL,
        Errno::EFAULT,
        Errno::ENOENT,
        Errno::ENXIO,
        Errno::ENOTSUP,
        Errno::ENOTTY,
        Errno::EEXIST,
        Errno::EBADF,
        Errno::EBUSY,
        Errno::EAGAIN,
        Errno::E2BIG,
        Errno::ETIME,
        Errno::ENOSPC,
        Errno::ENOMEM,
    ];
    match result {
        Ok(_) => *asked += u64::from(cmd == OVERLAY_TARG_LOOKUP),
        Err(e) => assert!(known.contains(&e), "{cmd:#x}: {e:?}"),
    }
}

/// Makes each address that packets could be sent to one of this machine: any 16 bytes that may be one.
fn private(memory: &mut [u8], cmd: u32) {
    let places: &[usize] = match cmd {
        // Of both versions: see overlay_abi.
        OVERLAY_TARG_ASSOCIATE => &[24, 28],
        OVERLAY_TARG_RESPOND => &[16, 40],
        OVERLAY_TARG_CACHE_SET => &[20, 24],
        _ => return,
    };
    for at in places {
        let Some(ip) = memory.get_mut(*at..at + 16) else { continue };
        if ip[..10] != [0; 10] || ip[10..12] == [0xff; 2] {
            ip[..10].fill(0);
            ip[10..13].copy_from_slice(&[0xff, 0xff, 127]);
        }
    }
}
