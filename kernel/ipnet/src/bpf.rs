// SPDX-License-Identifier: CDDL-1.0
//! The provider of `/dev/bpf` (spec/ipnet.md 5).
//!
//! ```text
//!   bpf ── open(name, zone) ──► Interface ── promisc_add ──► Promisc: a tap
//!    ▲                                                          │
//!    └────────── the function of ipnet_set_itap ◄── observe ────┘    in IP's context, no copy
//! ```
//!
//! What a zone that shares its stack sees of an interface is the interface with the zone's id: there
//! is no object for each zone, and none to go stale.
use crate::accept::GLOBAL_ZONE;
use crate::dlpi::{Bound, DL_IPNET, Mode};
use crate::header::{ALL_ZONES, Direction, HEADER_LEN, Header};
use crate::ipnet;
use crate::stack::Stack;
use crate::table::{Name, Node};
use crate::tap::{Seat, Sink, Tap, Ticket};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::ManuallyDrop;
use core::ptr;
use ddi::mblk::Mblk;
use ddi::mem::{KArc, Table};
use ddi::neti::Observed;
use ddi::netstack::Hold;
use ddi::{Errno, sys};

/// BPF's function for packets.
pub(crate) type Receive = sys::bpf_itap_fn_t;

/// `BPR_IPNET`.
const UNIT: c_int = 2;
/// Longest packet, bytes: no packet of IP is longer.
const SDU: u32 = 65535;
/// `MAC_CLIENT_PROMISC_ALL` and `_MULTI`.
const ALL: c_int = 0;
const MULTI: c_int = 2;

/// What BPF gave with `promisc_add`, and wants back with each packet.
pub(crate) struct Client(*mut c_void);

// SAFETY: never looked at here.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// An interface as a zone sees it.
struct Interface {
    stack: KArc<Stack>,
    node: KArc<Node>,
    zone: i32,
}

/// A tap of BPF's.
struct Promisc {
    interface: KArc<Interface>,
    tap: KArc<Tap>,
    _ticket: Ticket,
}

/// The table that bpf takes.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static bpf_ipnet: Table<sys::bpf_provider_t> = Table::new(sys::bpf_provider_t {
    bpr_unit: UNIT,
    bpr_open: Some(open),
    bpr_close: Some(close),
    bpr_name: Some(name),
    bpr_type: Some(kind),
    bpr_sdu_get: Some(sdu),
    bpr_tx: Some(tx),
    bpr_promisc_add: Some(promisc_add),
    bpr_promisc_remove: Some(promisc_remove),
    bpr_getlinkid: Some(linkid),
    bpr_client_close: Some(close),
    bpr_client_name: Some(name),
    bpr_client_open: Some(client_open),
    bpr_getzone: Some(zone),
    bpr_getdlt: Some(dlt),
});

/// Sets BPF's function for packets; NULL: none. Afterwards nobody is in the old one.
#[unsafe(no_mangle)]
pub extern "C" fn ipnet_set_itap(receive: Option<Receive>) {
    if let Ok(ipnet) = ipnet() {
        ipnet.bpf.replace(receive);
    }
}

/// Shows a packet to a client of BPF, which compares the header's ifindex with that of its
/// interface: a member of a group is shown under the group's.
pub(crate) fn show(client: &Client, seat: &Seat, header: &Header, packet: &Observed<'_>) {
    let Ok(ipnet) = ipnet() else { return };
    let receive = ipnet.bpf.read();
    let Some(receive) = *receive else { return };
    let sent = sys::boolean_t::from(header.direction == Some(Direction::Out));
    let len = header.len.saturating_add(HEADER_LEN as u32);
    let show = |mp: &Mblk| {
        // SAFETY: BPF's function with BPF's argument, which stays until promisc_remove has waited for
        // this; the message is only lent.
        unsafe { receive(client.0, mp.as_ptr(), sent, len) }
    };
    match seat.by_group(header) {
        None => show(packet.whole()),
        Some(group) => {
            packet.with_header(&Header { ifindex: group, ..*header }.to_bytes(), show);
        }
    }
}

/// The stack and the number of a zone.
fn stack_of(zone: i32) -> Result<(Hold, KArc<Stack>, i32), Errno> {
    let zone = if zone == ALL_ZONES { GLOBAL_ZONE } else { zone };
    let hold = Hold::of_zone(zone).ok_or(Errno::ESRCH)?;
    let stack = hold.instance().ok_or(Errno::ESRCH)?;
    Ok((hold, stack, zone))
}

/// # Safety
/// `handle` came from [`to_handle`] and was not given back.
unsafe fn borrow<'a, T>(handle: usize) -> &'a T {
    // SAFETY: by the caller's promise.
    unsafe { &*ptr::with_exposed_provenance::<T>(handle) }
}

/// A word that holds `object` until it is given back to [`from_handle`].
fn to_handle<T>(object: KArc<T>) -> usize {
    object.into_raw().expose_provenance()
}

/// # Safety
/// As [`borrow`]; uses the handle up.
unsafe fn from_handle<T>(handle: usize) -> KArc<T> {
    // SAFETY: by the caller's promise.
    unsafe { KArc::from_raw(ptr::with_exposed_provenance(handle)) }
}

unsafe extern "C" fn open(name: *const c_char, out: *mut usize, zone: sys::zoneid_t) -> c_int {
    // SAFETY: BPF's C string.
    let name = Name::new(unsafe { CStr::from_ptr(name) }.to_bytes());
    let found = stack_of(zone).and_then(|(_hold, stack, zone)| {
        let (node, _) = name.and_then(|n| stack.by_name(zone, &n)).ok_or(Errno::ESRCH)?;
        Ok(KArc::new(Interface { stack, node, zone }))
    });
    match found {
        Ok(interface) => {
            // SAFETY: BPF gave a place for it.
            unsafe { *out = to_handle(interface) };
            0
        }
        Err(e) => e.0,
    }
}

unsafe extern "C" fn close(handle: usize) {
    // SAFETY: from `open` or `client_open`, closed once.
    drop(unsafe { from_handle::<Interface>(handle) });
}

unsafe extern "C" fn client_open(handle: usize, out: *mut usize) -> c_int {
    // SAFETY: from `open`; a second hold of the same, the first stays BPF's.
    let interface = ManuallyDrop::new(unsafe { from_handle::<Interface>(handle) });
    // SAFETY: BPF gave a place for it.
    unsafe { *out = to_handle((*interface).clone()) };
    0
}

unsafe extern "C" fn name(handle: usize) -> *const c_char {
    // SAFETY: an open handle.
    let interface = unsafe { borrow::<Interface>(handle) };
    interface.node.name.as_bytes().as_ptr().cast()
}

unsafe extern "C" fn kind(_handle: usize) -> c_int {
    DL_IPNET as c_int
}

unsafe extern "C" fn sdu(_handle: usize, out: *mut u32) {
    // SAFETY: BPF gave a place for it.
    unsafe { *out = SDU };
}

unsafe extern "C" fn tx(_handle: usize, mp: *mut sys::mblk_t) -> c_int {
    // SAFETY: BPF hands the message over.
    drop(unsafe { Mblk::from_raw(mp) });
    Errno::EBADF.0
}

unsafe extern "C" fn linkid(
    name: *const c_char,
    out: *mut sys::datalink_id_t,
    zone: sys::zoneid_t,
) -> c_int {
    // SAFETY: BPF's C string.
    let name = Name::new(unsafe { CStr::from_ptr(name) }.to_bytes());
    let found = stack_of(zone).map(|(_hold, stack, zone)| stack.by_name(zone, &name?));
    match found {
        Ok(Some((_, index))) => {
            // SAFETY: BPF gave a place for it.
            unsafe { *out = index };
            0
        }
        _ => Errno::ESRCH.0,
    }
}

unsafe extern "C" fn zone(handle: usize, out: *mut sys::zoneid_t) -> c_int {
    // SAFETY: an open handle, and a place for the answer.
    unsafe { *out = borrow::<Interface>(handle).zone };
    0
}

unsafe extern "C" fn dlt(_handle: usize, out: *mut u32) -> c_int {
    // SAFETY: BPF gave a place for it.
    unsafe { *out = DL_IPNET };
    0
}

unsafe extern "C" fn promisc_add(
    handle: usize,
    how: c_int,
    arg: *mut c_void,
    out: *mut usize,
    _flags: c_int,
) -> usize {
    let mode = match how {
        ALL => Mode { phys: true, ..Mode::default() },
        MULTI => Mode { multi: true, ..Mode::default() },
        _ => return Errno::EINVAL.0 as usize,
    };
    // BPF cannot say which family, so it gets both.
    let mode = Mode { bound: Bound::Any, sap: true, ..mode };
    // SAFETY: an open handle, which stays BPF's.
    let interface = ManuallyDrop::new(unsafe { from_handle::<Interface>(handle) });
    let interface = (*interface).clone();
    let ticket = match Ticket::take(&interface.stack, interface.zone) {
        Ok(ticket) => ticket,
        Err(e) => return e.0 as usize,
    };
    let (node, sink) = (interface.node.clone(), Sink::Bpf(Client(arg)));
    let tap = KArc::new(Tap::new(Some(node), interface.zone, sink, mode));
    Stack::add(&interface.stack, &tap);
    if let Err(e) = interface.stack.want(&tap, true) {
        interface.stack.remove(&tap);
        return e.0 as usize;
    }
    // SAFETY: BPF gave a place for the handle.
    unsafe { *out = to_handle(KArc::new(Promisc { interface, tap, _ticket: ticket })) };
    0
}

unsafe extern "C" fn promisc_remove(handle: usize) {
    // SAFETY: from `promisc_add`, removed once.
    let promisc = unsafe { from_handle::<Promisc>(handle) };
    promisc.interface.stack.remove(&promisc.tap);
}
