// SPDX-License-Identifier: CDDL-1.0
//! Ioctls of the VNIC driver on [`crate::dld::DLD_CONTROL_DEV`].
//!
//! Resource properties (bandwidth, CPUs, protection) are carried as opaque zero bytes: our tools do
//! not set them. Source: `sys/vnic.h`; size of `mac_resource_props_t` from abi/kernel_abi.json. All
//! structures are packed to 4 bytes in both data models.
use crate::dld::MAXMACADDRLEN;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Create a VNIC; [`vnic_ioc_create_t`], in and out.
pub const VNIC_IOC_CREATE: u32 = 0x0171_0001;
/// Delete a VNIC; [`vnic_ioc_delete_t`], in.
pub const VNIC_IOC_DELETE: u32 = 0x0171_0002;
/// Describe a VNIC; [`vnic_info_t`], in and out.
pub const VNIC_IOC_INFO: u32 = 0x0171_0003;

/// `mac_addr_type`: the address given.
pub const VNIC_MAC_ADDR_TYPE_FIXED: i32 = 0;
/// `mac_addr_type`: random behind the prefix given.
pub const VNIC_MAC_ADDR_TYPE_RANDOM: i32 = 1;
/// `mac_addr_type`: one of the hardware's own.
pub const VNIC_MAC_ADDR_TYPE_FACTORY: i32 = 2;
/// `mac_addr_type`: whatever works; random on links without factory addresses.
pub const VNIC_MAC_ADDR_TYPE_AUTO: i32 = 3;
/// `mac_addr_type`: the link's own address.
pub const VNIC_MAC_ADDR_TYPE_PRIMARY: i32 = 4;

/// `vc_flags`: do not look for the same address elsewhere on the link.
pub const VNIC_IOC_CREATE_NODUPCHECK: u32 = 1;
/// `vc_flags`: an etherstub: no lower link.
pub const VNIC_IOC_CREATE_ANCHOR: u32 = 2;
/// `vc_flags`: create although the link cannot do VLAN tags or the MTU.
pub const VNIC_IOC_CREATE_FORCE: u32 = 4;

/// Bytes of `mac_resource_props_t`.
pub const MAC_RESOURCE_PROPS_SIZE: usize = 15428;

/// Argument of [`VNIC_IOC_CREATE`], 15500 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct vnic_ioc_create_t {
    /// Link the VNIC gets.
    pub vc_vnic_id: u32,
    /// Link it lies on.
    pub vc_link_id: u32,
    /// `VNIC_MAC_ADDR_TYPE_*`; out: the one used.
    pub vc_mac_addr_type: i32,
    /// Bytes of the address; out: those used.
    pub vc_mac_len: u32,
    /// Address or prefix; out: the one used.
    pub vc_mac_addr: [u8; MAXMACADDRLEN],
    /// Bytes of the prefix.
    pub vc_mac_prefix_len: u32,
    /// Slot of the factory address, -1 for any.
    pub vc_mac_slot: i32,
    /// VLAN id, 0 for untagged.
    pub vc_vid: u16,
    /// Zero.
    pub vc_pad: u16,
    /// VRRP id, 0 for none.
    pub vc_vrid: u32,
    /// Address family of VRRP.
    pub vc_af: i32,
    /// Unused.
    pub vc_status: u32,
    /// `VNIC_IOC_CREATE_*`
    pub vc_flags: u32,
    /// Out: detail of a failure, 0 for none.
    pub vc_diag: u32,
    /// Zero.
    pub vc_resource_props: [u8; MAC_RESOURCE_PROPS_SIZE],
}

/// Argument of [`VNIC_IOC_DELETE`], 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct vnic_ioc_delete_t {
    /// The VNIC.
    pub vd_vnic_id: u32,
}

/// Argument of [`VNIC_IOC_INFO`], 15488 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct vnic_info_t {
    /// In: the VNIC.
    pub vn_vnic_id: u32,
    /// Link it lies on.
    pub vn_link_id: u32,
    /// `VNIC_MAC_ADDR_TYPE_*`
    pub vn_mac_addr_type: i32,
    /// Bytes of the address.
    pub vn_mac_len: u32,
    /// The address.
    pub vn_mac_addr: [u8; MAXMACADDRLEN],
    /// Slot of the factory address.
    pub vn_mac_slot: i32,
    /// Bytes of the random address' prefix.
    pub vn_mac_prefix_len: u32,
    /// VLAN id, 0 for untagged.
    pub vn_vid: u16,
    /// Zero.
    pub vn_pad: u16,
    /// VRRP id.
    pub vn_vrid: u32,
    /// Address family of VRRP.
    pub vn_af: i32,
    /// Whether it was created by force.
    pub vn_force: i32,
    /// Zero.
    pub vn_resource_props: [u8; MAC_RESOURCE_PROPS_SIZE],
}
