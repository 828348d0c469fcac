// SPDX-License-Identifier: CDDL-1.0
//! Ethernet headers of guests' frames: untrusted, and split into blocks anywhere.
use ddi::mblk::Mblk;
use overlay_abi::ids::MacAddr;

/// Bytes of an Ethernet header.
pub(crate) const ETHER_HDR: usize = 14;
/// Bytes of one with a VLAN tag.
pub(crate) const VLAN_HDR: usize = 18;
const VLAN: u16 = 0x8100;
/// Numbers up to here are lengths (IEEE 802.3), not types.
const MAX_LENGTH: u16 = 1500;

/// What a lookup tells about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// [`ETHER_HDR`] or [`VLAN_HDR`].
    pub size: usize,
    pub dst: MacAddr,
    pub src: MacAddr,
    /// Type behind a tag if there is one; 0 for a frame of 802.3 with a length.
    pub sap: u16,
    /// 0 for untagged.
    pub vlan: u16,
}

impl Header {
    /// The header of a frame, `None` if the frame ends before it does.
    pub fn parse(frame: &Mblk) -> Option<Header> {
        let plain: [u8; ETHER_HDR] = frame.read()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = plain;
        let (dst, src) = (MacAddr([d0, d1, d2, d3, d4, d5]), MacAddr([s0, s1, s2, s3, s4, s5]));
        let kind = u16::from_be_bytes([t0, t1]);
        let (size, kind, vlan) = if kind == VLAN {
            let mut tag = [0; 4];
            if !frame.copy_bytes(ETHER_HDR, &mut tag) {
                return None;
            }
            let [c0, c1, k0, k1] = tag;
            (VLAN_HDR, u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1]) & 0x0fff)
        } else {
            (ETHER_HDR, kind, 0)
        };
        let sap = if kind <= MAX_LENGTH { 0 } else { kind };
        Some(Header { size, dst, src, sap, vlan })
    }
}

/// A MAC address as a number, so that numbers are in the order of addresses.
#[inline]
pub(crate) fn mac_key(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The address that [`mac_key`] made this number of.
pub(crate) fn key_mac(key: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = key.to_be_bytes();
    [a, b, c, d, e, f]
}
