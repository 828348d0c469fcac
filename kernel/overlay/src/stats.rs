// SPDX-License-Identifier: CDDL-1.0
//! What is counted, and why packets are dropped.
//!
//! The list of [`DropReason`] is the only one: kstats, probes and documentation come from it. Each
//! reason is the kstat `drop_<name>` of the link (or of `overlay:0:mux` when no link is known) and
//! the probe `overlay-drop-<name>` with arguments link id, bytes, `mblk_t *`, errno.
//!
//! A link's kstat `overlay:<link id>:link` has besides the drops:
//!
//! | kstat | what |
//! |---|---|
//! | `opackets`, `obytes` | frames sent, and their bytes without encapsulation |
//! | `ipackets`, `ibytes` | frames given to MAC, injected ones too, and their bytes |
//! | `oblocked` | times a full socket made MAC keep frames |
//! | `orouted` | frames sent that were routed; counted in `opackets` too |
//! | `cache_entries` | addresses in the target cache now, pending ones too |
//! | `cache_hits`, `cache_misses` | frames whose destination was known, and was not |
//! | `cache_evictions` | entries that went to make room |
//! | `route_entries`, `route_hits`, `route_misses`, `route_evictions` | the same of the route cache, of frames for routers |
//! | `lookups_outstanding` | addresses and routes varpd is or will be asked for |
//! | `queued_packets`, `queued_bytes` | frames that wait for an answer |
use core::ffi::CStr;
pub(crate) use ddi::kstat::Counter;
use ddi::mblk::Mblk;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $kstat:literal $probe:ident;)*) => {
        /// Why a packet is dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)* }

        impl DropReason {
            /// All of them, in the order of their kstats.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)*];

            /// Name of the kstat.
            pub const fn kstat(self) -> &'static CStr {
                match self { $(DropReason::$variant => $kstat,)* }
            }

            fn fire(self, linkid: u32, bytes: usize, mp: *mut ddi::sys::mblk_t, errno: i32) {
                match self {
                    $(DropReason::$variant => ddi::fire!($probe, linkid, bytes, mp, errno),)*
                }
            }
        }

        const DROPS: usize = [$(DropReason::$variant,)*].len();

        /// Names of a link's kstats, then those of all drops.
        pub(crate) const LINK_NAMES: &[&CStr] = &[
            c"opackets", c"obytes", c"ipackets", c"ibytes", c"oblocked", c"orouted",
            c"cache_entries", c"cache_hits", c"cache_misses", c"cache_evictions",
            c"route_entries", c"route_hits", c"route_misses", c"route_evictions",
            c"lookups_outstanding", c"queued_packets", c"queued_bytes",
            $($kstat,)*
        ];
        /// Names of the kstats of the receiving side before a link is known.
        pub(crate) const MUX_NAMES: &[&CStr] = &[$($kstat,)*];
    };
}

drop_reasons! {
    /// A guest's frame is shorter than an Ethernet header.
    TxRunt c"drop_tx_runt" __dtrace_probe_overlay__drop__tx__runt;
    /// A guest's frame is longer than the MTU allows.
    TxOversize c"drop_tx_oversize" __dtrace_probe_overlay__drop__tx__oversize;
    /// The link is not started.
    TxNotStarted c"drop_tx_not_started" __dtrace_probe_overlay__drop__tx__not__started;
    /// No varpd instance is associated with the link.
    TxNoTarget c"drop_tx_no_target" __dtrace_probe_overlay__drop__tx__no__target;
    /// The encapsulation wants destinations other than IP and port.
    TxDestKind c"drop_tx_dest_kind" __dtrace_probe_overlay__drop__tx__dest__kind;
    /// The cache says to drop packets for this address.
    TxTargetDrop c"drop_tx_target_drop" __dtrace_probe_overlay__drop__tx__target__drop;
    /// 128 KiB wait for an answer for this address already.
    TxQueueFull c"drop_tx_queue_full" __dtrace_probe_overlay__drop__tx__queue__full;
    /// 64 MiB wait for answers on this link already.
    TxPendingFull c"drop_tx_pending_full" __dtrace_probe_overlay__drop__tx__pending__full;
    /// The cache is full of addresses that are being looked up.
    TxCacheFull c"drop_tx_cache_full" __dtrace_probe_overlay__drop__tx__cache__full;
    /// A frame for a router is no IP packet between two hosts, or its route leads to a router.
    TxNotRoutable c"drop_tx_not_routable" __dtrace_probe_overlay__drop__tx__not__routable;
    /// The TTL or hop limit of a packet for a router is used up.
    TxTtl c"drop_tx_ttl" __dtrace_probe_overlay__drop__tx__ttl;
    /// The place that a route leads to is forgotten as often as it is found.
    TxNoRoute c"drop_tx_no_route" __dtrace_probe_overlay__drop__tx__no__route;
    /// No memory to begin a lookup, or to rewrite a frame's header.
    TxNoMemory c"drop_tx_no_memory" __dtrace_probe_overlay__drop__tx__no__memory;
    /// The encapsulation plugin failed.
    TxEncap c"drop_tx_encap" __dtrace_probe_overlay__drop__tx__encap;
    /// The socket failed; or it had no room, for a packet that MAC cannot take back.
    TxSend c"drop_tx_send" __dtrace_probe_overlay__drop__tx__send;
    /// A lookup was answered with DROP.
    LookupDrop c"drop_lookup_drop" __dtrace_probe_overlay__drop__lookup__drop;
    /// A queued frame has no readable header.
    LookupUndecodable c"drop_lookup_undecodable" __dtrace_probe_overlay__drop__lookup__undecodable;
    /// The link was disassociated or deleted while the packet waited for an answer.
    TargetGone c"drop_target_gone" __dtrace_probe_overlay__drop__target__gone;
    /// The socket delivered something other than a datagram.
    RxNotUnitdata c"drop_rx_not_unitdata" __dtrace_probe_overlay__drop__rx__not__unitdata;
    /// A datagram without data.
    RxNoData c"drop_rx_no_data" __dtrace_probe_overlay__drop__rx__no__data;
    /// A datagram without a valid encapsulation header.
    RxDecap c"drop_rx_decap" __dtrace_probe_overlay__drop__rx__decap;
    /// No started link has the datagram's virtual network id.
    RxUnknownVnet c"drop_rx_unknown_vnet" __dtrace_probe_overlay__drop__rx__unknown__vnet;
    /// The frame inside is shorter than an Ethernet header.
    RxRunt c"drop_rx_runt" __dtrace_probe_overlay__drop__rx__runt;
    /// The frame inside is longer than any link can be.
    RxOversize c"drop_rx_oversize" __dtrace_probe_overlay__drop__rx__oversize;
    /// No memory to put the frame's header in one block.
    RxNoMemory c"drop_rx_no_memory" __dtrace_probe_overlay__drop__rx__no__memory;
}

/// Drops by reason.
#[derive(Default)]
pub(crate) struct Drops([Counter; DROPS]);

impl Drops {
    /// Counts, tells and frees a packet.
    #[cold]
    pub fn drop(&self, reason: DropReason, linkid: u32, mp: Mblk, errno: i32) {
        self.count(reason, linkid, mp.size(), mp.as_ptr(), errno);
    }

    /// As [`Drops::drop`] for a packet that is gone already, or not freed by us.
    pub fn count(
        &self,
        reason: DropReason,
        linkid: u32,
        bytes: usize,
        mp: *mut ddi::sys::mblk_t,
        errno: i32,
    ) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.add(1);
        }
        reason.fire(linkid, bytes, mp, errno);
    }

    /// All counts in order.
    pub fn read(&self, out: &mut dyn FnMut(u64)) {
        for counter in &self.0 {
            out(counter.get());
        }
    }
}

/// One direction of a link. As long as a cache line, for the two run on different CPUs.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Flow {
    pub packets: Counter,
    pub bytes: Counter,
    _line: [u64; 6],
}

impl Flow {
    #[inline]
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// Drops of datagrams that belong to no link, `overlay:0:mux`.
#[derive(Default)]
pub(crate) struct MuxStats {
    pub drops: Drops,
}

impl ddi::kstat::Source for MuxStats {
    const NAMES: &'static [&'static CStr] = MUX_NAMES;

    fn read(&self, out: &mut dyn FnMut(u64)) {
        self.drops.read(out);
    }
}
