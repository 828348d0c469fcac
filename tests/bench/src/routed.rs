// SPDX-License-Identifier: CDDL-1.0
//! What a packet for a router costs the driver, with so many routes in its cache.
//!
//! All routes are asked for and answered first, as varpd does it: there is no other way into the cache.

use crate::{BATCH, LINK, PACKETS, VNET, resident};
use anyhow::{Context, Result, ensure};
use bench::{OverlayKernel, Varpd, at, frame, mac};
use fakekernel::host::{Checks, Config};
use fakekernel::net::client::{Client, Frame, Frames};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::v2::{self, About};
use overlay_abi::target::*;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;
use zerocopy::FromZeros;

/// Where collection begins anew, with the cache full.
pub const MEASURED: &str = "_ZN5bench6routed8measured*";

const ROUTER: u32 = u32::MAX - 1;
/// The network that packets are routed to.
const OTHER: u64 = 9;

/// Sends [`PACKETS`] packets of `len` bytes by routes all over a cache of so many.
///
/// # Errors
/// The driver does not load, or does not do what it should.
pub fn run(len: usize, routes: u32, files: Option<&Path>) -> Result<()> {
    let k = OverlayKernel::boot(Config { checks: Checks::Off, ..Config::default() }, files)?;
    k.create(LINK, VNET, at("127.0.0.1", 0x4791))?;
    k.setprop(LINK, b"route_cache_size", &u64::from(routes.max(256)).to_ne_bytes())?;
    let varpd = k.open_varpd()?;
    associate(&varpd)?;
    k.activate(LINK)?;
    // Somebody must be there, else the socket reports an error of an earlier send.
    let _sink = UdpSocket::bind(("127.0.0.1", 0x4792))?;
    let client = Client::open(LINK).map_err(|e| anyhow::anyhow!("errno {e}"))?;
    let before = resident()?;
    for first in (0..routes).step_by(BATCH) {
        let all = first..routes.min(first + BATCH as u32);
        send(&client, all.clone(), 64)?;
        all.into_iter().try_for_each(|_| answer(&varpd))?;
    }
    if routes >= 100_000 {
        println!("bytes per entry: {}", resident()?.saturating_sub(before) / u64::from(routes));
    }
    let known = k.counter(LINK, "route_entries");
    ensure!(known == u64::from(routes), "{known} routes in the cache");
    measured(&client, len, routes)?;
    let (sent, misses) = (k.counter(LINK, "orouted"), k.counter(LINK, "route_misses"));
    ensure!(sent == u64::from(routes) + PACKETS as u64, "{sent} packets routed");
    ensure!(misses == u64::from(routes), "{misses} routes asked for");
    drop(client);
    k.delete(LINK)?;
    drop(varpd);
    k.shutdown()
}

#[inline(never)]
fn measured(client: &Client, len: usize, routes: u32) -> Result<()> {
    let mut n: u32 = 0;
    for _ in 0..PACKETS / BATCH {
        let some = std::iter::repeat_with(|| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (n >> 4) % routes
        });
        send(client, some.take(BATCH), len)?;
    }
    Ok(())
}

/// Sends a packet to each of these guests behind the router.
fn send(client: &Client, to: impl IntoIterator<Item = u32>, len: usize) -> Result<()> {
    let mut frames = Frames::default();
    for n in to {
        let mut f = frame(mac(ROUTER), mac(u32::MAX), len);
        // From 10.0.0.1, to 11.0.0.0 and on.
        f[30..34].copy_from_slice(&(0x0b00_0000 + n).to_be_bytes());
        frames.push(Frame::from_slice(&f).context("no memory")?);
    }
    ensure!(client.tx_all(frames, Duration::from_secs(10)), "not sent");
    Ok(())
}

fn associate(varpd: &Varpd) -> Result<()> {
    let mut version = v2::VERSION;
    varpd.ioctl(OVERLAY_TARG_ABI, &mut version)?;
    let mut a = v2::overlay_targ_associate_t::new_zeroed();
    (a.ota_linkid, a.ota_id, a.ota_mode) = (LINK, 1, OVERLAY_TARGET_DYNAMIC);
    a.ota_provides = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
    varpd.ioctl(OVERLAY_TARG_ASSOCIATE, &mut a)?;
    let mut router = v2::overlay_targ_cache_t::new_zeroed();
    router.otc_linkid = LINK;
    router.otc_entry.otce_mac = v2::overlay_target_mac_t::new(0, MacAddr(mac(ROUTER)));
    router.otc_entry.otce_flags = v2::OVERLAY_TARGET_CACHE_ROUTER;
    Ok(varpd.ioctl(OVERLAY_TARG_CACHE_SET, &mut router)?)
}

/// Answers a question about a route: each guest has its own address.
fn answer(varpd: &Varpd) -> Result<()> {
    let mut q = v2::overlay_targ_lookup_t::new_zeroed();
    varpd.ioctl(OVERLAY_TARG_LOOKUP, &mut q)?;
    let About::L3(route) = q.about() else { anyhow::bail!("not about a route") };
    let [.., a, b, c, d] = route.otl3_dstip;
    let mut r = v2::overlay_targ_resp_t::new_zeroed();
    r.otr_reqid = q.otl_reqid;
    (r.otr_route.otr_vnet, r.otr_route.otr_srcmac) = (OTHER, mac(ROUTER));
    r.otr_mac = v2::overlay_target_mac_t::new(0, MacAddr(mac(u32::from_be_bytes([a, b, c, d]))));
    r.otr_answer = at("127.0.0.1", 0x4792).into();
    Ok(varpd.ioctl(OVERLAY_TARG_RESPOND, &mut r)?)
}
