// SPDX-License-Identifier: CDDL-1.0
//! The VXLAN header, RFC 7348 section 5 and `sys/vxlan.h`.
use crate::ids::VnetId;
use zerocopy::byteorder::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header.
pub const VXLAN_HDR_LEN: usize = 8;
/// Bytes of the virtual network id.
pub const VXLAN_ID_LEN: usize = 3;
/// The I flag: the id is valid.
pub const VXLAN_F_VDI: u32 = 0x0800_0000;
/// Bits between the id and the low end of its word.
pub const VXLAN_ID_SHIFT: u32 = 8;
/// UDP port given by IANA.
pub const IPPORT_VXLAN: u16 = 4789;

/// The header, 8 bytes big-endian.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct vxlan_hdr_t {
    /// [`VXLAN_F_VDI`]; the other bits are reserved, zero when sent.
    pub vxlan_flags: U32,
    /// Id in the upper three bytes; the last is reserved.
    pub vxlan_id: U32,
}

impl vxlan_hdr_t {
    /// The header for a network. Bits of the id above the 24th do not fit and are lost.
    pub const fn new(id: VnetId) -> Self {
        vxlan_hdr_t {
            vxlan_flags: U32::new(VXLAN_F_VDI),
            vxlan_id: U32::new((id.0 as u32) << VXLAN_ID_SHIFT),
        }
    }

    /// The network, or `None` without the I flag. Reserved bits are ignored as the RFC says.
    pub const fn vnet(&self) -> Option<VnetId> {
        if self.vxlan_flags.get() & VXLAN_F_VDI == 0 {
            return None;
        }
        Some(VnetId((self.vxlan_id.get() >> VXLAN_ID_SHIFT) as u64))
    }
}
