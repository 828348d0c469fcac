// SPDX-License-Identifier: CDDL-1.0
//! What an observed packet costs IP: without ipnet, with no stream on it, with one, with eight.
//!
//! Every stream wants every packet, with a header in front, and is read after each batch, so that none is dropped.

use anyhow::{Context, Result, bail, ensure};
use bench::counter;
use fakekernel::host::{Checks, Config, Cred, Kernel, Model, OpenDev, SelfMem, StaticModule, boot};
use fakekernel::inet::ip::{self, Direction, Family, Interface, Seen};
use fakekernel::streams::{Got, Message};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// Symbols between which IP shows a packet.
pub const SHOW: &[&str] = &["_ZN10fakekernel4inet2ip9Interface15observe_message*"];

const READ_WRITE: i32 = 3;
const DLIOCIPNETINFO: i32 = 0x4404;
const BIND: [u32; 5] = [1, 0, 0, 0, 0];
const BATCH: usize = 16;

/// Shows `packets` packets of `len` bytes to so many streams; `None`: the driver is not loaded.
///
/// # Errors
/// The driver does not load, or does not do what it should.
pub fn run(len: usize, streams: Option<u32>, packets: usize, files: Option<&Path>) -> Result<()> {
    let kernel = boot(Config { checks: Checks::Off, ..Config::default() });
    if streams.is_some() {
        load(&kernel, files)?;
    }
    let lo0 = Interface::loopback(0)?;
    ip::settle();
    let streams = streams.unwrap_or(0);
    let taps = (0..streams).map(|_| open(&kernel)).collect::<Result<Vec<_>>>()?;
    let here = Ipv4Addr::LOCALHOST.octets();
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&here);
    packet[16..20].copy_from_slice(&here);
    let seen = Seen { direction: Direction::Local, from_zone: 0, to_zone: 0, group: 0 };
    let mp = fakekernel::mblk::from_slice(&packet, 0);
    for _ in 0..packets / BATCH {
        for _ in 0..BATCH {
            // SAFETY: a message of ours.
            unsafe { lo0.observe_message(Family::V4, seen, mp) };
        }
        taps.iter().try_for_each(|tap| read(tap, len))?;
    }
    // SAFETY: ours, and shown to nobody any more.
    unsafe { illumos_sys_hdrs::freemsg(mp) };
    if streams > 0 {
        let delivered = counter("ipnet", 0, "dispatchDeliver");
        ensure!(delivered == (packets * streams as usize) as u64, "{delivered} packets delivered");
    }
    drop((taps, lo0));
    kernel.shutdown().map_err(|v| anyhow::anyhow!("{v:?}"))
}

/// Loads what is linked in, or the file `ipnet` of a directory.
fn load(kernel: &Kernel, files: Option<&Path>) -> Result<()> {
    let m = ipnet::module();
    kernel.register_module(StaticModule { name: m.name, init: m.init, fini: m.fini, info: m.info });
    if let Some(dir) = files {
        kernel.register_module_file(krtld::Module::new(m.name, dir.join("ipnet")))?;
    }
    kernel.modload(m.name)?;
    Ok(())
}

/// A stream on /dev/lo0, set up.
fn open(kernel: &Kernel) -> Result<OpenDev> {
    let dev = kernel.open("/dev/lo0", READ_WRITE, &Cred::KERNEL)?;
    let on = 1i32;
    dev.ioctl(DLIOCIPNETINFO, (&raw const on) as u64, Model::Lp64, &SelfMem)?;
    let bind = BIND.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let stream = dev.stream().context("/dev/lo0 is no stream")?;
    stream.putmsg(&Message { control: Some(bind), ..Message::default() })?;
    stream.getmsg(None)?;
    Ok(dev)
}

/// A batch.
fn read(tap: &OpenDev, len: usize) -> Result<()> {
    let stream = tap.stream().context("no stream")?;
    for _ in 0..BATCH {
        let got = stream.getmsg(Some(Duration::from_secs(20)))?;
        let Got::Message(Message { data: Some(data), .. }) = got else {
            bail!("{got:?} is no packet")
        };
        ensure!(data.len() == len + 24, "{} bytes of a packet", data.len());
    }
    Ok(())
}
