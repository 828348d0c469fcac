// SPDX-License-Identifier: CDDL-1.0
//! What the demo shows of the files plugin: what an edited file does.

use super::contact::{ping, reach, take};
use super::{Interrupt, Progress, plain};
use crate::host::Host;
use crate::hosts_file;
use crate::topology::Topology;
use anyhow::{Context, Result, bail, ensure};

/// A guest that went to another host.
#[derive(serde::Serialize)]
pub struct Move {
    guest: String,
    from: String,
    to: String,
    /// Echo requests to it once it was there and the files did not know, and how many were answered.
    sent_before: u64,
    received_before: u64,
    /// The same after the files were edited.
    sent_after: u64,
    received_after: u64,
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (before, after) = (self.received_before, self.received_after);
        write!(
            f,
            "{} from {} to {}: {before} of {} answered before the files were edited, {after} of {} after",
            self.guest, self.from, self.to, self.sent_before, self.sent_after
        )
    }
}

/// Takes the guest of the second host to the third, edits the files, and looks whether traffic follows.
pub fn follow(p: &Progress, t: &Topology, hosts: &[Host], stop: &Interrupt) -> Result<Move> {
    let mut moved = t.clone();
    let ([_, from, to, ..], [h1, h2, h3, ..]) = (&mut moved.hosts[..], hosts) else {
        bail!("the demo's topology lacks a host");
    };
    let guest = from.guests.pop().context("the demo's topology lacks a guest")?;
    to.guests.push(guest.clone());
    let asker = t.hosts.first().and_then(|h| h.guests.first()).context("no guest asks")?;
    let address = plain(guest.address.first().context("no address")?)?;

    take(p, t, &guest, h2, h3)?;
    let before = ping(p, h1, &asker.vnic, address)?;
    ensure!(before.received == 0, "frames to {} reach a host that no file names", guest.vnic);
    stop.check()?;

    p.step("the files are edited and read again");
    for (host, h) in hosts.iter().zip(&moved.hosts) {
        for o in &h.overlays {
            let path = hosts_file::write(&moved, host, o)?.context("no file")?;
            let prop = format!("{}={}", hosts_file::CONFIG, path.display());
            p.command(host, &["modify-overlay", "-p", &prop, &o.name])?;
        }
    }
    reach(h1, &asker.vnic, address)?;
    let after = ping(p, h1, &asker.vnic, address)?;
    ensure!(after.received == after.sent, "traffic to {} did not follow the files", guest.vnic);
    p.command(h1, &["show-overlay", "-t"])?;
    Ok(Move {
        guest: guest.vnic,
        from: h2.name.clone(),
        to: h3.name.clone(),
        sent_before: before.sent,
        received_before: before.received,
        sent_after: after.sent,
        received_after: after.received,
    })
}
