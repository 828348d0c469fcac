// SPDX-License-Identifier: CDDL-1.0
//! The routed form of `/dev/overlay`: what a handle speaks after [`OVERLAY_TARG_ABI`] was answered
//! with [`VERSION`] (spec/varpd.md 10).
//!
//! Ioctl numbers are those of v1. A structure that is not here is the same in both versions; one
//! that is here has the name of the v1 structure it replaces. A 32-bit program makes the same bytes
//! except for what is in [`ilp32`].
//!
//! Words that v1 does not have: a *data center id* (dcid) is a number that tells apart equal MAC
//! addresses of several places; 0 stands for the link's own. A *router* is a MAC address that
//! belongs to no guest: packets for it are forwarded by their IP addresses.
//!
//! [`OVERLAY_TARG_ABI`]: super::OVERLAY_TARG_ABI
use crate::ids::{MacAddr, UnderlayAddr};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The number of this version.
pub const VERSION: u32 = 2;

/// W. [`overlay_targ_cache_net_t`]: forgets routes. `ENOENT`, `ENXIO`, `ENOTSUP`; `EINVAL`: a prefix
/// longer than 128 bits.
pub const OVERLAY_TARG_CACHE_REMOVE_NET: u32 = 0x6f76_7435;
/// [`overlay_targ_route_iter_t`] followed by room for routes. `E2BIG`, `EINVAL`, `ENXIO`. The
/// original has no such ioctl; ours have numbers from 0x40 on.
pub const OVERLAY_TARG_ROUTE_ITER: u32 = 0x6f76_7441;

/// `otce_flags`: the address is a router's. Not together with `OVERLAY_TARGET_CACHE_DROP`.
pub const OVERLAY_TARGET_CACHE_ROUTER: u16 = 2;

/// `otl2_dsttype`: the address is a router's, and the frame a question to the router itself: an ARP
/// request or a neighbour solicitation. The original has no such number.
pub const OVERLAY_TARG_DSTTYPE_ROUTER: u32 = 0x40;

/// Where frames go, 24 bytes. A structure that holds one aligns it to 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct overlay_target_point_t {
    /// IPv6 address in network order, IPv4 as v4-mapped.
    pub otp_ip: [u8; 16],
    /// Port in host byte order.
    pub otp_port: u16,
    /// Ethernet address.
    pub otp_mac: [u8; 6],
}

impl overlay_target_point_t {
    /// The IP address and port of the point.
    pub fn underlay(&self) -> UnderlayAddr {
        UnderlayAddr { ip: self.otp_ip, port: self.otp_port }
    }

    /// Whether this is how a plugin says "a router": no address and no port.
    pub fn is_router(&self) -> bool {
        self.otp_ip == [0; 16] && self.otp_port == 0
    }
}

impl From<UnderlayAddr> for overlay_target_point_t {
    fn from(addr: UnderlayAddr) -> Self {
        overlay_target_point_t { otp_ip: addr.ip, otp_port: addr.port, ..Self::new_zeroed() }
    }
}

/// A guest's address in a data center, 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct overlay_target_mac_t {
    /// The data center, 0 for the link's own.
    pub otm_dcid: u32,
    /// The guest's address.
    pub otm_mac: [u8; 6],
    /// Zero.
    pub otm_pad: [u8; 2],
}

impl overlay_target_mac_t {
    /// A guest in a data center.
    pub fn new(dcid: u32, mac: MacAddr) -> Self {
        overlay_target_mac_t { otm_dcid: dcid, otm_mac: mac.0, otm_pad: [0; 2] }
    }

    /// The guest's address.
    pub fn mac(&self) -> MacAddr {
        MacAddr(self.otm_mac)
    }
}

/// What becomes of a routed frame, 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_target_route_t {
    /// The virtual network it goes to.
    pub otr_vnet: u64,
    /// Its new source address, the router's on that side.
    pub otr_srcmac: [u8; 6],
    /// Its new VLAN id, 0 for untagged.
    pub otr_vlan: u16,
}

/// Argument of INFO, 32 bytes (ILP32 28).
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
    /// Out: the link's own data center.
    pub oti_dcid: u32,
    /// Zero.
    pub oti_pad: u32,
}

/// Argument of ASSOCIATE, 48 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_associate_t {
    /// The link.
    pub ota_linkid: u32,
    /// `OVERLAY_TARGET_POINT` or `OVERLAY_TARGET_DYNAMIC`.
    pub ota_mode: u32,
    /// The varpd instance, not 0.
    pub ota_id: u64,
    /// Destination bits answers will have; must be those the link needs.
    pub ota_provides: u32,
    /// Zero.
    pub ota_pad: u32,
    /// The destination in POINT mode.
    pub ota_point: overlay_target_point_t,
}

/// What a lookup by MAC address is about, 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_l2_t {
    /// Source address.
    pub otl2_srcaddr: [u8; 6],
    /// Destination address, the one asked for.
    pub otl2_dstaddr: [u8; 6],
    /// `MAC_ADDRTYPE_*` of the destination: unicast 0, multicast 1, broadcast 2; or
    /// [`OVERLAY_TARG_DSTTYPE_ROUTER`].
    pub otl2_dsttype: u32,
    /// Ethernet type behind a VLAN tag if there is one.
    pub otl2_sap: u32,
}

/// What a lookup of a route is about, 32 bytes: IPv6 addresses in network order, IPv4 as v4-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct overlay_targ_l3_t {
    /// Source address.
    pub otl3_srcip: [u8; 16],
    /// Destination address.
    pub otl3_dstip: [u8; 16],
}

/// Which of the two an [`overlay_targ_lookup_t`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A MAC address.
    L2(overlay_targ_l2_t),
    /// A route.
    L3(overlay_targ_l3_t),
}

/// Result of LOOKUP, 88 bytes: one frame that waits for a destination.
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
    /// A union of [`overlay_targ_l2_t`] and [`overlay_targ_l3_t`].
    pub otl_addru: [u8; 32],
    /// VLAN id, 0 for untagged.
    pub otl_vlan: i32,
    /// Not 0: it is about a route.
    pub otl_l3req: i32,
}

impl overlay_targ_lookup_t {
    /// What it is about.
    pub fn about(&self) -> About {
        if self.otl_l3req == 0 {
            let l2 = overlay_targ_l2_t::read_from_prefix(&self.otl_addru).map(|(l2, _)| l2);
            About::L2(l2.unwrap_or_else(|_| overlay_targ_l2_t::new_zeroed()))
        } else {
            About::L3(zerocopy::transmute!(self.otl_addru))
        }
    }

    /// Says what it is about.
    pub fn set_about(&mut self, about: About) {
        self.otl_addru = [0; 32];
        match about {
            About::L2(l2) => crate::copy(&mut self.otl_addru, l2.as_bytes()),
            About::L3(l3) => self.otl_addru = zerocopy::transmute!(l3),
        }
        self.otl_l3req = i32::from(matches!(about, About::L3(_)));
    }
}

/// Argument of RESPOND and DROP, 64 bytes. Route and MAC are looked at for a route only.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_resp_t {
    /// The request.
    pub otr_reqid: u64,
    /// What becomes of the frame.
    pub otr_route: overlay_target_route_t,
    /// Whom it is for.
    pub otr_mac: overlay_target_mac_t,
    /// Zero.
    pub otr_pad: [u8; 4],
    /// Where that guest lives. For a MAC address: no address and port 0 is "a router".
    pub otr_answer: overlay_target_point_t,
}

/// One entry of the target cache, 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct overlay_targ_cache_entry_t {
    /// The guest; zero for the one entry of a POINT link.
    pub otce_mac: overlay_target_mac_t,
    /// `OVERLAY_TARGET_CACHE_DROP`, [`OVERLAY_TARGET_CACHE_ROUTER`] or 0.
    pub otce_flags: u16,
    /// Zero.
    pub otce_pad: [u8; 2],
    /// Where it lives; zero for a drop entry and for a router.
    pub otce_dest: overlay_target_point_t,
}

/// Argument of the CACHE ioctls except ITER and REMOVE_NET, 48 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_t {
    /// The link.
    pub otc_linkid: u32,
    /// Zero.
    pub otc_pad: u32,
    /// The entry.
    pub otc_entry: overlay_targ_cache_entry_t,
}

/// Which routes go, 36 bytes: those from this VLAN whose addresses lie in both prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4))]
pub struct overlay_targ_cache_net_entry_t {
    /// Source prefix, as an IPv6 address in network order.
    pub otcne_src: [u8; 16],
    /// Destination prefix.
    pub otcne_dst: [u8; 16],
    /// VLAN id the frames come with, 0 for untagged.
    pub otcne_vlan: u16,
    /// Bits of the source prefix, 0 to 128; of an IPv4 prefix 96 more than its own.
    pub otcne_src_prefixlen: u8,
    /// Bits of the destination prefix.
    pub otcne_dst_prefixlen: u8,
}

/// Argument of [`OVERLAY_TARG_CACHE_REMOVE_NET`], 40 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_net_t {
    /// The link.
    pub otcn_linkid: u32,
    /// The routes.
    pub otcn_entry: overlay_targ_cache_net_entry_t,
}

/// Argument of CACHE_ITER, 32 bytes; entries follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_cache_iter_t {
    /// The link.
    pub otci_linkid: u32,
    /// Zero.
    pub otci_pad: u32,
    /// Zero to begin; out: opaque, goes back in.
    pub otci_marker: [u64; 2],
    /// In: room for so many entries, 1 to `OVERLAY_TARGET_ITER_MAX`. Out: entries; 0: no more.
    pub otci_count: u16,
    /// Zero.
    pub otci_pad2: [u8; 3],
    /// Zero.
    pub otci_pad3: [u8; 3],
}

/// One route of the route cache, 88 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_route_entry_t {
    /// What the frames say.
    pub otre_addr: overlay_targ_l3_t,
    /// What becomes of them.
    pub otre_route: overlay_target_route_t,
    /// Whom they are for.
    pub otre_mac: overlay_target_mac_t,
    /// VLAN id they come with, 0 for untagged.
    pub otre_vlan: u16,
    /// Zero.
    pub otre_pad: [u8; 2],
    /// Where that guest lives; zero when that has to be asked again.
    pub otre_dest: overlay_target_point_t,
}

/// Argument of [`OVERLAY_TARG_ROUTE_ITER`], 48 bytes; routes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct overlay_targ_route_iter_t {
    /// The link.
    pub otri_linkid: u32,
    /// In: room for so many routes, 1 to `OVERLAY_TARGET_ITER_MAX`. Out: routes; 0: no more.
    pub otri_count: u16,
    /// Zero to begin; out: opaque, goes back in.
    pub otri_vlan: u16,
    /// Zero to begin; out: opaque, goes back in.
    pub otri_marker: overlay_targ_l3_t,
    /// Zero to begin; out: opaque, goes back in.
    pub otri_state: u64,
}

/// The forms a 32-bit program makes; its PKT is that of v1.
///
/// A 64-bit number aligns to 4 bytes there, which [`U64`](zerocopy::native_endian::U64) allows.
pub mod ilp32 {
    use zerocopy::native_endian::U64;
    use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

    /// As [`super::overlay_targ_info_t`] but 28 bytes: the kernel must not write 32.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    pub struct overlay_targ_info_t {
        /// In: the link.
        pub oti_linkid: u32,
        /// Out: destination bits its encapsulation needs.
        pub oti_needs: u32,
        /// Out: `OVERLAY_TARG_INFO_F_*`.
        pub oti_flags: U64,
        /// Out: virtual network id.
        pub oti_vnetid: U64,
        /// Out: the link's own data center.
        pub oti_dcid: u32,
    }
}
