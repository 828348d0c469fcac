// SPDX-License-Identifier: CDDL-1.0
//! Ioctls of `/dev/overlay`, spoken between varpd and the overlay driver (spec/varpd.md 9.3).
//!
//! A number with *W* needs a handle open for writing, else `EBADF`. A new handle speaks v1, the
//! layouts of this module; [`OVERLAY_TARG_ABI`] makes it speak those of [`v2`].
use crate::ids::{MacAddr, UnderlayAddr};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

pub mod v2;

/// The device node.
pub const OVERLAY_DEV: &str = "/dev/overlay";

/// `"ovt"` in the upper three bytes.
pub const OVERLAY_TARG_IOCTL: u32 = 0x6f76_7400;
/// W. [`overlay_targ_info_t`]. `ENOENT`: no such overlay link.
pub const OVERLAY_TARG_INFO: u32 = 0x6f76_7401;
/// W. [`overlay_targ_associate_t`]. `EINVAL`, `EEXIST`.
pub const OVERLAY_TARG_ASSOCIATE: u32 = 0x6f76_7402;
/// W. [`overlay_targ_id_t`].
pub const OVERLAY_TARG_DISASSOCIATE: u32 = 0x6f76_7403;
/// W. [`overlay_targ_degrade_t`].
pub const OVERLAY_TARG_DEGRADE: u32 = 0x6f76_7404;
/// W. [`overlay_targ_id_t`].
pub const OVERLAY_TARG_RESTORE: u32 = 0x6f76_7405;
/// [`overlay_targ_lookup_t`], out. Blocks up to one second, then `ETIME`.
pub const OVERLAY_TARG_LOOKUP: u32 = 0x6f76_7410;
/// W. [`overlay_targ_resp_t`]. `EINVAL`: not a request of this handle.
pub const OVERLAY_TARG_RESPOND: u32 = 0x6f76_7411;
/// W. [`overlay_targ_resp_t`], only the request id is looked at.
pub const OVERLAY_TARG_DROP: u32 = 0x6f76_7412;
/// W. [`overlay_targ_pkt_t`]: a frame for the guests. `EINVAL`, `ENOMEM`, `EFAULT`, `ENOENT`,
/// `EBUSY`.
pub const OVERLAY_TARG_INJECT: u32 = 0x6f76_7413;
/// W. [`overlay_targ_pkt_t`]: the frame a request is about, out.
pub const OVERLAY_TARG_PKT: u32 = 0x6f76_7414;
/// W. [`overlay_targ_pkt_t`]: a frame to send as if a guest had sent it.
pub const OVERLAY_TARG_RESEND: u32 = 0x6f76_7415;
/// [`overlay_targ_list_t`] followed by room for link ids.
pub const OVERLAY_TARG_LIST: u32 = 0x6f76_7420;
/// [`overlay_targ_cache_t`]. `ENOENT`, `ENXIO`.
pub const OVERLAY_TARG_CACHE_GET: u32 = 0x6f76_7430;
/// W. [`overlay_targ_cache_t`]. `EINVAL`, `ENXIO`, `ENOTSUP`.
pub const OVERLAY_TARG_CACHE_SET: u32 = 0x6f76_7431;
/// W. [`overlay_targ_cache_t`]. `ENOENT`, `ENXIO`, `ENOTSUP`.
pub const OVERLAY_TARG_CACHE_REMOVE: u32 = 0x6f76_7432;
/// W. [`overlay_targ_cache_t`], only the link is looked at. `ENXIO`, `ENOTSUP`.
pub const OVERLAY_TARG_CACHE_FLUSH: u32 = 0x6f76_7433;
/// [`overlay_targ_cache_iter_t`] followed by room for entries. `E2BIG`, `EINVAL`.
pub const OVERLAY_TARG_CACHE_ITER: u32 = 0x6f76_7434;
/// Asks for another version of this ABI on this handle: a `u32`, in the version wanted, out the one
/// that holds from now on, which is not above it. `EINVAL`: version 0. A driver that answers
/// `ENOTTY` speaks v1 only.
pub const OVERLAY_TARG_ABI: u32 = 0x6f76_7440;

/// Most entries one [`OVERLAY_TARG_CACHE_ITER`] returns.
pub const OVERLAY_TARGET_ITER_MAX: u16 = 500;
/// `otce_flags`: frames for this address are dropped.
pub const OVERLAY_TARGET_CACHE_DROP: u16 = 1;
/// Largest frame of [`OVERLAY_TARG_INJECT`] and [`OVERLAY_TARG_RESEND`]: 1514 bytes and a VLAN tag.
pub const OVERLAY_TARG_PKT_MAX: u64 = 1518;

/// Target mode: no target yet.
pub const OVERLAY_TARGET_NONE: u32 = 0;
/// Target mode: every frame goes to one place.
pub const OVERLAY_TARGET_POINT: u32 = 1;
/// Target mode: varpd is asked for each address.
pub const OVERLAY_TARGET_DYNAMIC: u32 = 2;

/// Destination bits: nothing.
pub const OVERLAY_PLUGIN_D_INVALID: u32 = 0;
/// Destination bits: a destination has an Ethernet address.
pub const OVERLAY_PLUGIN_D_ETHERNET: u32 = 1;
/// Destination bits: a destination has an IP address.
pub const OVERLAY_PLUGIN_D_IP: u32 = 2;
/// Destination bits: a destination has a port.
pub const OVERLAY_PLUGIN_D_PORT: u32 = 4;
/// Destination bits: all there are.
pub const OVERLAY_PLUGIN_D_MASK: u32 = 7;

/// `oti_flags`: the link was activated.
pub const OVERLAY_TARG_INFO_F_ACTIVE: u64 = 1;
/// `oti_flags`: the link is degraded.
pub const OVERLAY_TARG_INFO_F_DEGRADED: u64 = 2;

/// Where frames go, 28 bytes. Which members count is said by the destination bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct overlay_target_point_t {
    /// Ethernet address.
    pub otp_mac: [u8; 6],
    /// Zero.
    pub otp_pad: [u8; 2],
    /// IPv6 address in network order, IPv4 as v4-mapped.
    pub otp_ip: [u8; 16],
    /// Port in host byte order.
    pub otp_port: u16,
    /// Zero.
    pub otp_pad2: [u8; 2],
}

impl overlay_target_point_t {
    /// The IP address and port of the point.
    pub fn underlay(&self) -> UnderlayAddr {
        UnderlayAddr { ip: self.otp_ip, port: self.otp_port }
    }
}

impl From<UnderlayAddr> for overlay_target_point_t {
    fn from(addr: UnderlayAddr) -> Self {
        overlay_target_point_t { otp_ip: addr.ip, otp_port: addr.port, ..Self::new_zeroed() }
    }
}

/// Argument of [`OVERLAY_TARG_INFO`], 24 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_info_t {
    /// In: the link.
    pub oti_linkid: u32,
    /// Out: destination bits its encapsulation needs.
    pub oti_needs: u32,
    /// Out: `OVERLAY_TARG_INFO_F_*`.
    pub oti_flags: u64,
    /// Out: virtual network id.
    pub oti_vnetid: u64,
}

/// Argument of [`OVERLAY_TARG_ASSOCIATE`], 48 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_associate_t {
    /// The link.
    pub ota_linkid: u32,
    /// [`OVERLAY_TARGET_POINT`] or [`OVERLAY_TARGET_DYNAMIC`].
    pub ota_mode: u32,
    /// The varpd instance, not 0.
    pub ota_id: u64,
    /// Destination bits answers will have; must be those the link needs.
    pub ota_provides: u32,
    /// The destination in POINT mode.
    pub ota_point: overlay_target_point_t,
}

/// Argument of [`OVERLAY_TARG_DEGRADE`], 264 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_degrade_t {
    /// The link.
    pub otd_linkid: u32,
    /// Zero.
    pub otd_pad: u32,
    /// Why; NUL-terminated, else the last byte is lost.
    pub otd_buf: [u8; crate::dld::OVERLAY_STATUS_BUFLEN],
}

/// Argument of [`OVERLAY_TARG_DISASSOCIATE`] and [`OVERLAY_TARG_RESTORE`], 4 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_id_t {
    /// The link.
    pub otid_linkid: u32,
}

/// Result of [`OVERLAY_TARG_LOOKUP`], 72 bytes: one frame that waits for a destination.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_lookup_t {
    /// The link.
    pub otl_dlid: u64,
    /// The request, opaque, valid on this handle until answered.
    pub otl_reqid: u64,
    /// The varpd instance.
    pub otl_varpdid: u64,
    /// Virtual network id.
    pub otl_vnetid: u64,
    /// Bytes of the Ethernet header: 14, with a VLAN tag 18.
    pub otl_hdrsize: u64,
    /// Bytes of the frame behind it.
    pub otl_pktsize: u64,
    /// Source address.
    pub otl_srcaddr: [u8; 6],
    /// Destination address, the one asked for.
    pub otl_dstaddr: [u8; 6],
    /// `MAC_ADDRTYPE_*` of the destination: unicast 0, multicast 1, broadcast 2.
    pub otl_dsttype: u32,
    /// Ethernet type behind a VLAN tag if there is one.
    pub otl_sap: u32,
    /// VLAN id, 0 for untagged.
    pub otl_vlan: i32,
}

/// Argument of [`OVERLAY_TARG_RESPOND`] and [`OVERLAY_TARG_DROP`], 40 bytes (ILP32 36).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_resp_t {
    /// The request.
    pub otr_reqid: u64,
    /// Its answer.
    pub otr_answer: overlay_target_point_t,
    /// Zero.
    pub otr_pad: [u8; 4],
}

/// `otp_linkid` when the request says which link it is.
pub const OVERLAY_TARG_PKT_BY_REQUEST: u64 = u64::MAX;

/// Argument of [`OVERLAY_TARG_INJECT`], [`OVERLAY_TARG_PKT`] and [`OVERLAY_TARG_RESEND`], 32 bytes
/// (ILP32 28).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_pkt_t {
    /// The link, or [`OVERLAY_TARG_PKT_BY_REQUEST`].
    pub otp_linkid: u64,
    /// The request.
    pub otp_reqid: u64,
    /// Bytes at `otp_buf`; for PKT in the room, out what was copied.
    pub otp_size: u64,
    /// Address of the frame in the caller's memory.
    pub otp_buf: u64,
}

/// The ILP32 form as the kernel calls it.
pub use ilp32::overlay_targ_pkt_t as overlay_targ_pkt32_t;

/// Argument of [`OVERLAY_TARG_LIST`], 4 bytes; `u32` link ids follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_list_t {
    /// In: room for so many link ids, 0 to count. Out: how many links there are.
    pub otl_nents: u32,
}

/// One entry of the target cache, 36 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_entry_t {
    /// The guest's address; zero for the one entry of a POINT link.
    pub otce_mac: [u8; 6],
    /// [`OVERLAY_TARGET_CACHE_DROP`] or 0.
    pub otce_flags: u16,
    /// Where it lives; zero for a drop entry.
    pub otce_dest: overlay_target_point_t,
}

impl overlay_targ_cache_entry_t {
    /// The guest's address.
    pub fn mac(&self) -> MacAddr {
        MacAddr(self.otce_mac)
    }
}

/// Argument of the CACHE ioctls except ITER, 40 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_t {
    /// The link.
    pub otc_linkid: u32,
    /// The entry.
    pub otc_entry: overlay_targ_cache_entry_t,
}

/// Argument of [`OVERLAY_TARG_CACHE_ITER`], 24 bytes; entries follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_iter_t {
    /// The link.
    pub otci_linkid: u32,
    /// Zero.
    pub otci_pad: u32,
    /// 0 to begin; out: opaque, goes back in.
    pub otci_marker: u64,
    /// In: room for so many entries, 1 to [`OVERLAY_TARGET_ITER_MAX`]. Out: entries; 0: no more.
    pub otci_count: u16,
    /// Zero.
    pub otci_pad2: [u8; 3],
    /// Zero.
    pub otci_pad3: [u8; 3],
}

/// The forms a 32-bit program makes. All other structures of this module are the same bytes.
///
/// A 64-bit number aligns to 4 bytes there, which [`U64`](zerocopy::native_endian::U64) allows.
pub mod ilp32 {
    use super::overlay_target_point_t;
    use zerocopy::native_endian::U64;
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    /// As [`super::overlay_targ_resp_t`] but 36 bytes: the kernel must not read 40.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct overlay_targ_resp_t {
        /// The request.
        pub otr_reqid: U64,
        /// Its answer.
        pub otr_answer: overlay_target_point_t,
    }

    /// As [`super::overlay_targ_pkt_t`] but 28 bytes.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct overlay_targ_pkt_t {
        /// The link, or [`super::OVERLAY_TARG_PKT_BY_REQUEST`].
        pub otp_linkid: U64,
        /// The request.
        pub otp_reqid: U64,
        /// Bytes at `otp_buf`.
        pub otp_size: U64,
        /// Address of the frame in the caller's memory.
        pub otp_buf: u32,
    }
}
