// SPDX-License-Identifier: CDDL-1.0
//! The VNIC as smoltcp sees it.

use std::collections::VecDeque;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Frames handed to the wire at once.
pub const BATCH: usize = 64;
const ETHERNET_HEADER: usize = 14;

/// A network card: two queues of frames.
pub struct Card {
    /// Frames for smoltcp to take.
    pub received: VecDeque<Vec<u8>>,
    /// Frames smoltcp has made.
    pub sending: VecDeque<Vec<u8>>,
    /// Bytes of the largest IP packet.
    pub mtu: usize,
}

impl Card {
    /// A card for IP packets of at most `mtu` bytes.
    pub fn new(mtu: usize) -> Card {
        Card { received: VecDeque::new(), sending: VecDeque::new(), mtu }
    }
}

/// A frame received.
pub struct RxToken(Vec<u8>);
/// Room for a frame to send.
pub struct TxToken<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Card {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let frame = self.received.pop_front()?;
        Some((RxToken(frame), TxToken(&mut self.sending)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        // Stops smoltcp until the batch is on the wire.
        if self.sending.len() >= BATCH {
            return None;
        }
        Some(TxToken(&mut self.sending))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = self.mtu + ETHERNET_HEADER;
        caps
    }
}

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let r = f(&mut frame);
        self.0.push_back(frame);
        r
    }
}
