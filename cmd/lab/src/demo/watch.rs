// SPDX-License-Identifier: CDDL-1.0
//! Watching a guest ask who has an address: ARP and neighbour discovery on its VNIC.

use crate::guests;
use crate::host::Host;
use anyhow::{Context, Result};
use overlay_abi::ids::MacAddr;
use snoop::file::Reader;
use snoop::packet::Packet;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest frame that is looked at.
const LONG: usize = 2048;
/// How long an answer may take to be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A question that was answered.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Answered {
    /// `ARP` or `ND`.
    pub protocol: &'static str,
    /// The address asked for.
    pub address: IpAddr,
    /// Who has it, by the answer.
    pub mac: String,
    /// From question to answer.
    pub microseconds: f64,
}

/// What a frame is.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Question(IpAddr),
    Answer(&'static str, IpAddr, MacAddr),
}

/// A watch on a VNIC, until the first answer about `address`.
pub struct Watch(Receiver<Answered>);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// fakekerneld refused.
    pub fn start(host: &Host, vnic: &str, address: IpAddr) -> Result<Watch> {
        let mut frames = Reader::new(guests::capture(host, vnic)?);
        let (send, receive) = channel();
        // It ends with the answer; without one the demo fails, and with it the process ends.
        std::thread::spawn(move || {
            if let Some(answered) = answer(&mut frames, address) {
                let _ = send.send(answered);
            }
        });
        Ok(Watch(receive))
    }

    /// The answer.
    ///
    /// # Errors
    /// None came.
    pub fn answered(self) -> Result<Answered> {
        self.0.recv_timeout(PATIENCE).context("nobody told who has the address")
    }
}

/// Reads a capture up to the answer about `address`; the question comes before it.
fn answer(frames: &mut Reader<impl Read>, address: IpAddr) -> Option<Answered> {
    let mut asked = None;
    while let Ok(Some(Packet { time, bytes, .. })) = frames.packet() {
        match seen(bytes.get(..LONG).unwrap_or(&bytes)) {
            Some(Seen::Question(a)) if a == address => asked = asked.or(Some(time)),
            Some(Seen::Answer(protocol, a, mac)) if a == address => {
                // Before the question it is an announcement: the directory's log has told of the guest.
                let Some(asked) = asked else { continue };
                let microseconds = time.saturating_sub(asked).as_secs_f64() * 1e6;
                return Some(Answered { protocol, address, mac: mac.to_string(), microseconds });
            }
            _ => {}
        }
    }
    None
}

/// What an untagged frame asks or answers. For the eye only: the sums are not checked.
fn seen(frame: &[u8]) -> Option<Seen> {
    let (kind, packet) = frame.get(12..)?.split_first_chunk::<2>()?;
    match kind {
        [0x08, 0x06] => {
            let ip = |at: usize| {
                let ip: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::V4(Ipv4Addr::from(ip)))
            };
            match packet.get(6..8)? {
                [0, 1] => Some(Seen::Question(ip(24)?)),
                [0, 2] => {
                    let mac = packet.get(8..14)?.try_into().ok()?;
                    Some(Seen::Answer("ARP", ip(14)?, MacAddr(mac)))
                }
                _ => None,
            }
        }
        [0x86, 0xdd] if packet.get(6) == Some(&58) => {
            let icmp = packet.get(40..)?;
            let target: [u8; 16] = icmp.get(8..24)?.try_into().ok()?;
            let target = IpAddr::V6(Ipv6Addr::from(target));
            match (icmp.first()?, icmp.get(24..26)) {
                (135, _) => Some(Seen::Question(target)),
                (136, Some([2, 1])) => {
                    let mac = icmp.get(26..32)?.try_into().ok()?;
                    Some(Seen::Answer("ND", target, MacAddr(mac)))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_are_recognized() {
        let mut arp = vec![0xff; 12];
        arp.extend([
            8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 8, 0x20, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10,
            0, 0, 2,
        ]);
        assert_eq!(seen(&arp), Some(Seen::Question("10.0.0.2".parse().unwrap())));
        arp[21] = 2;
        let answer =
            Seen::Answer("ARP", "10.0.0.1".parse().unwrap(), MacAddr([2, 8, 0x20, 0, 0, 1]));
        assert_eq!(seen(&arp), Some(answer));
        let mut nd = vec![0; 14 + 40 + 32];
        (nd[12], nd[13], nd[20]) = (0x86, 0xdd, 58);
        (nd[54], nd[54 + 23]) = (135, 9);
        assert_eq!(seen(&nd), Some(Seen::Question("::9".parse().unwrap())));
        (nd[54], nd[54 + 24], nd[54 + 25], nd[54 + 31]) = (136, 2, 1, 7);
        let mac = MacAddr([0, 0, 0, 0, 0, 7]);
        assert_eq!(seen(&nd), Some(Seen::Answer("ND", "::9".parse().unwrap(), mac)));
        for cut in 0..nd.len() {
            assert_eq!(seen(&nd[..cut]).is_some(), cut >= nd.len(), "{cut}");
        }
    }
}
