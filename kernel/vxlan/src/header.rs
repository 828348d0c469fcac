// SPDX-License-Identifier: CDDL-1.0
//! Putting the VXLAN header in front of a frame and reading it from a datagram.
use ddi::Errno;
use ddi::mblk::Mblk;
use overlay_abi::ids::VnetId;
use overlay_abi::vxlan::{VXLAN_HDR_LEN, vxlan_hdr_t};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes in front of a frame that make it worth writing in place: VXLAN 8, UDP 8, IPv4 20, Ethernet
/// with a tag 18. With less, IP would have to add a block anyway.
pub const HEADROOM: usize = 54;
/// Bytes of the block added otherwise; the header is at its end, the rest is room for the outer
/// headers.
pub const BLOCK: usize = 128;

/// The frame with the header of `vnet` in front.
///
/// # Errors
/// `ENOMEM`; the frame comes back.
#[inline]
pub fn encap(mut frame: Mblk, vnet: VnetId) -> Result<Mblk, (Errno, Mblk)> {
    let header = vxlan_hdr_t::new(vnet);
    let bytes = header.as_bytes();
    if frame.headroom() >= HEADROOM && frame.try_prepend(bytes) {
        return Ok(frame);
    }
    match Mblk::alloc_at_end(BLOCK, bytes) {
        Some(front) => Ok(front.link(frame)),
        // Without memory the little room there may be will do.
        None if frame.try_prepend(bytes) => Ok(frame),
        None => Err((Errno::ENOMEM, frame)),
    }
}

/// The network a datagram belongs to. Its frame begins [`VXLAN_HDR_LEN`] bytes on.
///
/// # Errors
/// `EINVAL`: shorter than the header, or the I flag is not set. Reserved bits are ignored, as RFC
/// 7348 section 5 wants.
#[inline]
pub fn decap(datagram: &Mblk) -> Result<VnetId, Errno> {
    let bytes = datagram.read::<VXLAN_HDR_LEN>().ok_or(Errno::EINVAL)?;
    let header = vxlan_hdr_t::read_from_bytes(&bytes).map_err(|_| Errno::EINVAL)?;
    header.vnet().ok_or(Errno::EINVAL)
}
