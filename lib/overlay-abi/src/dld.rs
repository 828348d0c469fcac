// SPDX-License-Identifier: CDDL-1.0
//! Ioctls of the datalink control device, [`DLD_CONTROL_DEV`].
//!
//! The number is `module id << 16 | n`. The overlay driver registers eight under [`OVERLAY_IOC`]
//! (spec/varpd.md 9.1); of dld's own ones only those are here that our tools use.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Path of the control device.
pub const DLD_CONTROL_DEV: &str = "/dev/dld";

/// Module id of dld itself.
pub const DLD_IOC: u32 = 0x0d1d;
/// Module id of the VNIC driver, see [`crate::vnic`].
pub const VNIC_IOC: u32 = 0x0171;
/// Module id of the overlay driver.
pub const OVERLAY_IOC: u32 = 0x2005;

/// `dld_ioc_info_t.di_flags`: the argument is copied in before the handler runs.
pub const DLDCOPYIN: u32 = 1;
/// `dld_ioc_info_t.di_flags`: the argument is copied out after the handler ran, failed or not.
pub const DLDCOPYOUT: u32 = 2;
/// Both.
pub const DLDCOPYINOUT: u32 = 3;

/// Bytes of a property name with its NUL.
pub const OVERLAY_PROP_NAMELEN: usize = 64;
/// Most bytes of a property's value, default or possible values.
pub const OVERLAY_PROP_SIZEMAX: usize = 256;
/// Bytes of a degradation message with its NUL.
pub const OVERLAY_STATUS_BUFLEN: usize = 256;
/// Most bytes of an encapsulation plugin's name with its NUL (`MAXLINKNAMELEN`).
pub const MAXLINKNAMELEN: usize = 32;

/// Create a device; [`overlay_ioc_create_t`], in.
pub const OVERLAY_IOC_CREATE: u32 = 0x2005_0001;
/// Delete a device; [`overlay_ioc_delete_t`], in.
pub const OVERLAY_IOC_DELETE: u32 = 0x2005_0002;
/// Describe a property; [`overlay_ioc_propinfo_t`], in and out.
pub const OVERLAY_IOC_PROPINFO: u32 = 0x2005_0003;
/// Value of a property; [`overlay_ioc_prop_t`], in and out.
pub const OVERLAY_IOC_GETPROP: u32 = 0x2005_0004;
/// Set a property; [`overlay_ioc_prop_t`], in.
pub const OVERLAY_IOC_SETPROP: u32 = 0x2005_0005;
/// Number of properties; [`overlay_ioc_nprops_t`], in and out.
pub const OVERLAY_IOC_NPROPS: u32 = 0x2005_0006;
/// Activate a device; [`overlay_ioc_activate_t`], in.
pub const OVERLAY_IOC_ACTIVATE: u32 = 0x2005_0007;
/// Degraded or not; [`overlay_ioc_status_t`], in and out; needs no privilege.
pub const OVERLAY_IOC_STATUS: u32 = 0x2005_0008;

/// `ois_status`: in order.
pub const OVERLAY_I_OK: u32 = 0;
/// `ois_status`: degraded, `ois_message` says why.
pub const OVERLAY_I_DEGRADED: u32 = 1;

/// Argument of [`OVERLAY_IOC_CREATE`], 48 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_create_t {
    /// Link the device gets; must be unused.
    pub oic_linkid: u32,
    /// The link's data center, see [`crate::target::v2`]. In v1 it is called `oic_filler` and is 0.
    pub oic_dcid: u32,
    /// Virtual network id.
    pub oic_vnetid: u64,
    /// Name of the encapsulation plugin, NUL-terminated.
    pub oic_encap: [u8; MAXLINKNAMELEN],
}

/// Argument of [`OVERLAY_IOC_ACTIVATE`], 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_activate_t {
    /// The device.
    pub oia_linkid: u32,
}

/// Argument of [`OVERLAY_IOC_DELETE`], 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_delete_t {
    /// The device.
    pub oid_linkid: u32,
}

/// Argument of [`OVERLAY_IOC_NPROPS`], 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_nprops_t {
    /// The device.
    pub oipn_linkid: u32,
    /// Out: number of properties.
    pub oipn_nprops: i32,
}

/// Argument of [`OVERLAY_IOC_PROPINFO`], 600 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_propinfo_t {
    /// The device.
    pub oipi_linkid: u32,
    /// In: property number, -1 to find it by name. Out: the number.
    pub oipi_id: i32,
    /// Name, NUL-terminated.
    pub oipi_name: [u8; OVERLAY_PROP_NAMELEN],
    /// Out: `OVERLAY_PROP_T_*`.
    pub oipi_type: u32,
    /// Out: `OVERLAY_PROP_PERM_*`.
    pub oipi_prot: u32,
    /// Out: default value.
    pub oipi_default: [u8; OVERLAY_PROP_SIZEMAX],
    /// Out: bytes of the default, 0 for none.
    pub oipi_defsize: u32,
    /// Out: bytes of the possible values.
    pub oipi_posssize: u32,
    /// Out: possible values, see [`crate::props::Possible`].
    pub oipi_poss: [u8; OVERLAY_PROP_SIZEMAX],
}

/// Argument of [`OVERLAY_IOC_GETPROP`] and [`OVERLAY_IOC_SETPROP`], 332 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_prop_t {
    /// The device.
    pub oip_linkid: u32,
    /// Property number, -1 to find it by name.
    pub oip_id: i32,
    /// Name, NUL-terminated.
    pub oip_name: [u8; OVERLAY_PROP_NAMELEN],
    /// The value.
    pub oip_value: [u8; OVERLAY_PROP_SIZEMAX],
    /// Bytes of the value, 0 for "not set".
    pub oip_size: u32,
}

/// Argument of [`OVERLAY_IOC_STATUS`], 264 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_ioc_status_t {
    /// The device.
    pub ois_linkid: u32,
    /// Out: [`OVERLAY_I_OK`] or [`OVERLAY_I_DEGRADED`].
    pub ois_status: u32,
    /// Out: why it is degraded, NUL-terminated.
    pub ois_message: [u8; OVERLAY_STATUS_BUFLEN],
}

/// Largest frame payload of a link; [`dld_ioc_attr_t`].
pub const DLDIOC_ATTR: u32 = 0x0d1d_0003;
/// Addresses of a link; [`dld_ioc_macaddrget_t`] followed by [`dld_macaddrinfo_t`]s.
pub const DLDIOC_MACADDRGET: u32 = 0x0d1d_0015;
/// Set a link property; [`dld_ioc_macprop_t`].
pub const DLDIOC_SETMACPROP: u32 = 0x0d1d_001b;
/// Value of a link property; [`dld_ioc_macprop_t`].
pub const DLDIOC_GETMACPROP: u32 = 0x0d1d_001c;

/// `dmi_flags`: the address is in use.
pub const DLDIOCMACADDR_USED: u32 = 1;
/// Most bytes of a link-layer address.
pub const MAXMACADDRLEN: usize = 20;
/// Bytes of a link property name with its NUL.
pub const MAXLINKPROPNAME: usize = 256;
/// `pr_num` of the property `mtu`, a `u32`.
pub const MAC_PROP_MTU: i32 = 6;
/// `pr_perm_flags`: readable.
pub const MAC_PROP_PERM_READ: u32 = 0x01;
/// `pr_perm_flags`: writable.
pub const MAC_PROP_PERM_WRITE: u32 = 0x10;
/// `pr_perm_flags`: both.
pub const MAC_PROP_PERM_RW: u32 = 0x11;
/// `pr_flags`: the default is asked for, not the value (`DLD_PROP_DEFAULT`).
pub const DLD_PROP_DEFAULT: u32 = 1;
/// `pr_flags`: the range is asked for as a [`crate::props::Possible`] blob (`DLD_PROP_POSSIBLE`).
pub const DLD_PROP_POSSIBLE: u32 = 2;

/// Argument of [`DLDIOC_ATTR`], 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct dld_ioc_attr_t {
    /// The link.
    pub dia_linkid: u32,
    /// Out: largest payload of a frame in bytes (the MTU).
    pub dia_max_sdu: u32,
}

/// Argument of [`DLDIOC_MACADDRGET`], 12 bytes, in front of an array.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct dld_ioc_macaddrget_t {
    /// The link.
    pub dig_linkid: u32,
    /// Out: how many [`dld_macaddrinfo_t`] follow.
    pub dig_count: u32,
    /// In: bytes of room for them.
    pub dig_size: u32,
}

/// One address of a link, 292 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct dld_macaddrinfo_t {
    /// 0 is the primary address.
    pub dmi_slot: u32,
    /// [`DLDIOCMACADDR_USED`] or 0.
    pub dmi_flags: u32,
    /// Bytes of the address.
    pub dmi_addrlen: u32,
    /// The address.
    pub dmi_addr: [u8; MAXMACADDRLEN],
    /// Name of the client using it.
    pub dmi_client_name: [u8; 256],
    /// Link of the client using it.
    pub dma_client_linkid: u32,
}

/// Argument of [`DLDIOC_SETMACPROP`] and [`DLDIOC_GETMACPROP`], 280 bytes or more.
///
/// The value is `pr_valsize` bytes at offset [`DLD_MACPROP_VAL`], which is inside of the structure.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct dld_ioc_macprop_t {
    /// `DLD_PROP_*`
    pub pr_flags: u32,
    /// The link.
    pub pr_linkid: u32,
    /// `MAC_PROP_*`, -1 for a private property.
    pub pr_num: i32,
    /// Out: `MAC_PROP_PERM_*`.
    pub pr_perm_flags: u32,
    /// Name, NUL-terminated.
    pub pr_name: [u8; MAXLINKPROPNAME],
    /// Bytes of the value.
    pub pr_valsize: u32,
    /// The value's first byte.
    pub pr_val: [u8; 1],
    /// Its next three, for a value of four.
    pub pr_val_pad: [u8; 3],
}

/// Where the value begins in a [`dld_ioc_macprop_t`].
pub const DLD_MACPROP_VAL: usize = 276;
