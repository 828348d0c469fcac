// SPDX-License-Identifier: CDDL-1.0
//! The cable between a host inside the process and its VNIC.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use fakekernel::inet::ip::Direction;
use fakekernel::net::Note;
use fakekernel::net::client::{Client, Frame, Frames, RxBatch};
use overlay_abi::errno::Errno;

use super::smol::{Guest, Settings, Wire};
use crate::ip::Plumbed;
use crate::links::lock;

struct Cable {
    /// What the host's IP sees of it.
    plumbed: Arc<Plumbed>,
    /// Set when the guest is there; nothing is sent before.
    client: OnceLock<Client>,
    /// What the kernel had no room for.
    pending: Mutex<Frames>,
}

/// Starts a host on a VNIC. The VNIC is closed when the guest stops.
pub fn start(settings: Settings, client: Client, plumbed: Plumbed) -> Result<Guest, String> {
    let plumbed = Arc::new(plumbed);
    let seen = Arc::clone(&plumbed);
    let cable = Arc::new(Cable { plumbed, client: OnceLock::new(), pending: Mutex::default() });
    let guest = Guest::start(settings, Arc::clone(&cable) as Arc<dyn Wire>)?;
    let inlet = guest.inlet();
    client.set_rx(Arc::new(move |batch: &mut RxBatch| {
        let frames: Vec<_> = batch.map(|f| f.bytes().into_owned()).collect();
        frames.iter().for_each(|f| seen.sees(Direction::In, f));
        inlet.deliver(frames);
    }));
    let inlet = guest.inlet();
    client.set_notes(Arc::new(move |note| match note {
        Note::Tx => inlet.writable(),
        Note::Mtu(mtu) => inlet.set_mtu(mtu as usize),
        Note::Link(_) => {}
    }));
    // Neighbour discovery sends to groups that nobody tells the kernel of.
    client.set_all_multicast(true).map_err(|e| format!("multicast: {}", Errno(e)))?;
    let _ = cable.client.set(client);
    Ok(guest)
}

impl Wire for Cable {
    fn send(&self, frames: &mut VecDeque<Vec<u8>>) -> bool {
        let Some(client) = self.client.get() else { return false };
        let mut pending = lock(&self.pending);
        if !pending.is_empty() {
            *pending = client.tx(std::mem::take(&mut *pending)).err().unwrap_or_default();
            if !pending.is_empty() {
                return false;
            }
        }
        // A frame for which there is no memory is lost, as in a network card.
        frames.iter().for_each(|f| self.plumbed.sees(Direction::Out, f));
        let fresh: Frames = frames.drain(..).filter_map(|f| Frame::from_slice(&f)).collect();
        *pending = client.tx(fresh).err().unwrap_or_default();
        pending.is_empty()
    }
}
