// SPDX-License-Identifier: CDDL-1.0
//! What a lookup plugin of varpd is written against: a safe trait, and a macro for the C ABI.
//!
//! ```text
//!   dlopen() --> .init_array --> libvarpd_plugin_register("direct", ops)    plugin!(point: Direct)
//!   varpd  --> ops.vpo_create(..) --> shim --> Direct::create(..)          trait Plugin
//!          --> ops.vpo_default(..) -> shim --> Direct::destination(..)     trait Point
//!          --> ops.vpo_lookup(..) --> shim --> Files::lookup(.., Query)    trait Dynamic
//!          <-- libvarpd_plugin_query_reply(..) <-- Query::found() / drop
//! ```
//!
//! A plugin is a shared object `libvarpd_NAME.so` (crate type `cdylib`) and does not link with
//! libvarpd: the functions in [`sys`] are those of the process that loads it. The example `bymac` is a
//! whole plugin.
//!
//! # Vocabulary
//!
//! * *plugin*: the code; it has a name and a mode. *instance*: one object of it, bound to one
//!   overlay link.
//! * *point mode* (trait [`Point`]): every frame goes to one destination. *dynamic mode*
//!   ([`Dynamic`]): varpd asks for each guest address.
//! * *destination bits*: which parts a destination must have, `OVERLAY_PLUGIN_D_*`.
//! * *routed* ([`Routed`]): of dynamic mode, and knows routes as well. It registers with version 2 of
//!   the interface; with a varpd that has only version 1 it is a plugin of dynamic mode.
//!
//! # When what is called
//!
//! `create` or `restore`, then properties in any order, `start`, then lookups, `stop`, and in the
//! end the object is dropped. Lookups come only between `start` and `stop`. Calls for one object
//! may overlap, so it is `Sync` and locks for itself; while a lock of its own is held it may still
//! call back into varpd.
//!
//! # Invariants
//!
//! * Each [`Query`] is answered exactly once, or handed to one of libvarpd's proxies exactly once; one
//!   that is dropped is answered with "drop the packet". [`ArpReply`] and [`DhcpReply`], which a proxy
//!   asks with, likewise.
//! * A panic does not cross the C ABI: the call fails with `EIO`, a lookup is answered by a drop
//!   (where panics unwind; with `panic = "abort"` it takes varpd with it).
//! * Errors are illumos numbers here, and host numbers in the C ABI.

pub mod shim;
pub mod sys;

pub use overlay_abi;
pub use shim::is_routed;

use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr, VnetId};
use overlay_abi::provider::{
    VARPD_LOOKUP_DROP, VARPD_LOOKUP_OK, nvlist_t, varpd_arp_handle_t, varpd_dhcp_handle_t,
    varpd_prop_handle_t, varpd_provider_handle_t, varpd_query_handle_t,
};
use overlay_abi::target::v2;
use overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What every plugin is. Property names are full ones, such as `direct/dest_ip`.
pub trait Plugin: Send + Sync + Sized + 'static {
    /// Name, the first part of its properties' names: 1 to 63 bytes without `/`.
    const NAME: &'static CStr;

    /// Makes an object for a link whose destinations need the parts `dest`. `ENOTSUP` if it cannot
    /// give them.
    fn create(provider: Provider, dest: u32) -> Result<Self, Errno>;

    /// Begins work. `EAGAIN`, by custom, if a required property is not set.
    fn start(&self) -> Result<(), Errno>;

    /// Undoes `start`. Queries that are not answered yet should be.
    fn stop(&self);

    /// How many properties there are.
    fn nprops(&self) -> u32;

    /// Describes the property `id`. `EINVAL` for an id that is not below `nprops`.
    fn propinfo(&self, id: u32, prop: &mut Prop<'_>) -> Result<(), Errno>;

    /// Puts the value of a property in `buf` and returns its size, 0 if it is not set.
    ///
    /// `EINVAL` for an unknown name, `EOVERFLOW` if `buf` is too short;
    /// [`put`](overlay_abi::props::put) does that.
    fn getprop(&self, name: &str, buf: &mut [u8]) -> Result<u32, Errno>;

    /// Sets a property. `EINVAL` for an unknown name or a value it cannot have, `EOVERFLOW` for a
    /// short one.
    fn setprop(&self, name: &str, value: &[u8]) -> Result<(), Errno>;

    /// Puts what [`Plugin::restore`] needs in a list.
    fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno>;

    /// Makes an object from what an earlier one saved.
    fn restore(list: &NvList<'_>, provider: Provider, dest: u32) -> Result<Self, Errno>;

    /// What there is to say of the object now, a JSON object that varpdadm shows: what it is
    /// connected to, what it has counted. A plugin that does not say otherwise says nothing.
    fn report(&self) -> Option<String> {
        None
    }
}

/// A plugin of point mode.
pub trait Point: Plugin {
    /// Where every frame goes; `None` makes the activation fail.
    fn destination(&self) -> Option<overlay_target_point_t>;
}

/// A plugin of dynamic mode.
pub trait Dynamic: Plugin {
    /// Finds where the frame of `query` goes. The query may be kept and answered later, from any
    /// thread.
    fn lookup(&self, query: Query);

    /// Finds who has the address `addr`, after [`Query::proxy_arp`] (IPv4) or [`Query::proxy_ndp`]
    /// (IPv6). The reply may be kept as a query may. A plugin that does not say otherwise knows
    /// nobody.
    fn arp(&self, reply: ArpReply, addr: IpAddr) {
        let (_, _) = (reply, addr);
    }

    /// Finds the DHCP server or relay for the frame of `request`, after [`Query::proxy_dhcp`]. A plugin
    /// that does not say otherwise knows none.
    fn dhcp(&self, reply: DhcpReply, request: &overlay_targ_lookup_t) {
        let (_, _) = (reply, request);
    }
}

/// A plugin of dynamic mode that knows routes.
pub trait Routed: Dynamic {
    /// Finds what becomes of a packet for a router. The query may be kept as others.
    fn route(&self, query: RouteQuery);

    /// As [`Dynamic::arp`], with the VLAN id that the question came with, 0 for untagged.
    fn arp_in(&self, reply: ArpReply, addr: IpAddr, vlan: u16) {
        let _ = vlan;
        self.arp(reply, addr);
    }
}

/// What becomes of a routed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The virtual network it goes to.
    pub vnet: VnetId,
    /// Its VLAN id there, 0 for untagged.
    pub vlan: u16,
    /// Its source address there, the router's.
    pub srcmac: MacAddr,
    /// Data center of its destination, 0 for that of the link.
    pub dcid: u32,
    /// Its destination.
    pub dstmac: MacAddr,
    /// Where that lives.
    pub to: UnderlayAddr,
}

/// The instance as varpd knows it; valid as long as the object it was given to.
#[derive(Clone, Copy, Debug)]
pub struct Provider(*mut varpd_provider_handle_t);

// SAFETY: libvarpd's functions may be called with it from any thread.
unsafe impl Send for Provider {}
// SAFETY: as above.
unsafe impl Sync for Provider {}

impl Provider {
    /// The provider behind a C handle, which libvarpd knows or will say it does not.
    pub fn from_raw(handle: *mut varpd_provider_handle_t) -> Provider {
        Provider(handle)
    }

    /// Virtual network of the link.
    pub fn vnetid(self) -> VnetId {
        // SAFETY: the handle is libvarpd's own.
        VnetId(unsafe { sys::libvarpd_plugin_vnetid(self.0) })
    }

    /// Data center of the link; 0 where there are none.
    pub fn dcid(self) -> u32 {
        // SAFETY: the type of that function; libvarpd's own handle.
        unsafe {
            let dcid = sys::optional::<sys::DcidFn>(c"libvarpd_plugin_dcid");
            dcid.map_or(0, |dcid| dcid(self.0))
        }
    }

    /// Makes the kernel forget routes of packets that come with this VLAN id, from one prefix to
    /// another, and has asked anew those that are being asked for. Prefixes are of IPv6; of IPv4 they
    /// are v4-mapped, and their lengths 96 more. A varpd without routes does nothing.
    pub fn route_flush(self, vlan: u16, src: ([u8; 16], u8), dst: ([u8; 16], u8)) {
        // SAFETY: the type of that function; libvarpd's own handle, pointers that are valid during the call.
        unsafe {
            if let Some(flush) = sys::optional::<sys::RouteFlushFn>(c"libvarpd_route_flush") {
                flush(self.0, &src.0, &dst.0, src.1, dst.1, vlan);
            }
        }
    }

    /// Degrades the link. The message is cut after 255 bytes.
    pub fn degrade(self, message: &str) {
        let text: Vec<u8> = message.bytes().filter(|b| *b != 0).collect();
        if let Ok(text) = CString::new(text) {
            // SAFETY: the handle is libvarpd's own, the text a C string during the call.
            unsafe { sys::libvarpd_fma_degrade(self.0, text.as_ptr()) }
        }
    }

    /// Ends the degradation of the link.
    pub fn restore(self) {
        // SAFETY: the handle is libvarpd's own.
        unsafe { sys::libvarpd_fma_restore(self.0) }
    }

    /// Tells the kernel unasked where frames for `mac` go; with `None` it forgets the address.
    pub fn inject_varp(self, mac: [u8; 6], point: Option<&overlay_target_point_t>) {
        let v2 = point.map(point_v2);
        // The layout is that of the version registered with.
        let point = match &v2 {
            Some(v2) if shim::is_routed() => std::ptr::from_ref(v2).cast(),
            _ => point.map_or(std::ptr::null(), std::ptr::from_ref),
        };
        // SAFETY: the handle is libvarpd's own, the pointers are valid during the call.
        unsafe { sys::libvarpd_inject_varp(self.0, mac.as_ptr(), point) }
    }

    /// Tells guests of this link unasked that `src` has the address `ip`, by an ARP request sent to
    /// `dst`. `vlan` 0 is untagged.
    pub fn inject_arp(self, vlan: u16, src: [u8; 6], ip: Ipv4Addr, dst: [u8; 6]) {
        let ip = ip.octets();
        // SAFETY: the handle is libvarpd's own, the pointers are valid during the call.
        unsafe {
            sys::libvarpd_inject_arp(self.0, vlan, src.as_ptr(), ip.as_ptr(), dst.as_ptr());
        }
    }

    /// Tells guests of this link unasked that `src` has the address `ip`, by a neighbour advertisement
    /// sent to all nodes. A varpd that cannot do that does nothing.
    pub fn inject_ndp(self, vlan: u16, src: [u8; 6], ip: Ipv6Addr) {
        let ip = ip.octets();
        // SAFETY: the type of that function; libvarpd's own handle, pointers that are valid during the call.
        unsafe {
            if let Some(inject) = sys::optional::<sys::InjectNdpFn>(c"libvarpd_inject_ndp") {
                inject(self.0, vlan, src.as_ptr(), &ip);
            }
        }
    }
}

/// A point in the layout of version 2.
pub(crate) fn point_v2(point: &overlay_target_point_t) -> v2::overlay_target_point_t {
    v2::overlay_target_point_t {
        otp_ip: point.otp_ip,
        otp_port: point.otp_port,
        otp_mac: point.otp_mac,
    }
}

/// Where a query's answer goes, in the layout of the version registered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Out {
    V1(*mut overlay_target_point_t),
    V2(*mut v2::overlay_target_point_t),
}

/// One frame that waits for a destination. Dropped without an answer, the frame is dropped too.
#[derive(Debug)]
pub struct Query {
    provider: Provider,
    handle: *mut varpd_query_handle_t,
    request: overlay_targ_lookup_t,
    /// As libvarpd has it, for it to have back.
    theirs: *const overlay_targ_lookup_t,
    out: Out,
}

// SAFETY: a query is libvarpd's and may be answered from any thread; request and point belong to it
// alone.
unsafe impl Send for Query {}

impl Query {
    /// What is known about the frame.
    pub fn request(&self) -> &overlay_targ_lookup_t {
        &self.request
    }

    /// Answers: the frame goes to `point`.
    pub fn reply(self, point: &overlay_target_point_t) {
        let query = ManuallyDrop::new(self);
        // SAFETY: valid until the reply. libvarpd's handle, not answered so far since an answer takes
        // the query.
        unsafe {
            match query.out {
                Out::V1(out) => out.write(*point),
                Out::V2(out) => out.write(point_v2(point)),
            }
            sys::libvarpd_plugin_query_reply(query.handle, VARPD_LOOKUP_OK);
        }
    }

    /// Answers: the address is a router's, and packets for it are routed. A varpd without routes is
    /// told to drop them.
    pub fn reply_router(self) {
        let Out::V2(out) = self.out else { return };
        let query = ManuallyDrop::new(self);
        // SAFETY: as in `reply`.
        unsafe {
            out.write(zerocopy::FromZeros::new_zeroed());
            sys::libvarpd_plugin_query_reply(query.handle, VARPD_LOOKUP_OK);
        }
    }

    /// Answers: nobody can say at the moment. The frame is dropped, but what the kernel knew of its
    /// destination when varpd began stays. To a varpd that has no such answer it is a drop.
    pub fn unknown(self) {
        // SAFETY: the type of that function.
        let unknown = unsafe { sys::optional::<sys::UnknownFn>(c"libvarpd_plugin_query_unknown") };
        if let Some(unknown) = unknown {
            let query = ManuallyDrop::new(self);
            // SAFETY: libvarpd's handle, not answered so far since an answer takes the query.
            unsafe { unknown(query.handle) }
        }
    }

    /// Hands it to libvarpd's ARP proxy, which asks [`Dynamic::arp`] and answers the frame's sender. It
    /// checks the frame itself.
    pub fn proxy_arp(self) {
        self.hand_over(sys::libvarpd_plugin_proxy_arp);
    }

    /// Hands it to the proxy of IPv6 neighbour discovery, likewise.
    pub fn proxy_ndp(self) {
        self.hand_over(sys::libvarpd_plugin_proxy_ndp);
    }

    /// Hands it to the proxy of DHCP, which asks [`Dynamic::dhcp`] and sends the frame there.
    pub fn proxy_dhcp(self) {
        self.hand_over(sys::libvarpd_plugin_proxy_dhcp);
    }

    fn hand_over(self, proxy: sys::ProxyFn) {
        let query = ManuallyDrop::new(self);
        // SAFETY: libvarpd's handles and request, not answered so far; the proxy takes them over.
        unsafe { proxy(query.provider.0, query.handle, query.theirs) }
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        // SAFETY: libvarpd's handle, not answered so far.
        unsafe { sys::libvarpd_plugin_query_reply(self.handle, VARPD_LOOKUP_DROP) }
    }
}

/// One packet for a router that waits for a route. Dropped without an answer, the packet is dropped
/// too.
#[derive(Debug)]
pub struct RouteQuery {
    handle: *mut varpd_query_handle_t,
    request: v2::overlay_targ_lookup_t,
    addrs: v2::overlay_targ_l3_t,
    point: *mut v2::overlay_target_point_t,
    route: *mut v2::overlay_target_route_t,
    mac: *mut v2::overlay_target_mac_t,
}

// SAFETY: as for Query.
unsafe impl Send for RouteQuery {}

impl RouteQuery {
    /// Where the packet comes from, IPv4 or IPv6.
    pub fn src(&self) -> IpAddr {
        overlay_abi::ids::unmapped(self.addrs.otl3_srcip)
    }

    /// Where it goes to, of the same family.
    pub fn dst(&self) -> IpAddr {
        overlay_abi::ids::unmapped(self.addrs.otl3_dstip)
    }

    /// VLAN id it comes with, 0 for untagged.
    pub fn vlan(&self) -> u16 {
        self.request.otl_vlan as u16
    }

    /// Virtual network it comes from.
    pub fn vnet(&self) -> VnetId {
        VnetId(self.request.otl_vnetid)
    }

    /// Answers.
    pub fn reply(self, route: &Route) {
        let query = ManuallyDrop::new(self);
        // SAFETY: valid until the reply. libvarpd's handle, not answered so far since an answer takes
        // the query.
        unsafe {
            query.point.write(route.to.into());
            query.route.write(v2::overlay_target_route_t {
                otr_vnet: route.vnet.0,
                otr_srcmac: route.srcmac.0,
                otr_vlan: route.vlan,
            });
            query.mac.write(v2::overlay_target_mac_t::new(route.dcid, route.dstmac));
            sys::libvarpd_plugin_query_reply(query.handle, VARPD_LOOKUP_OK);
        }
    }
}

impl Drop for RouteQuery {
    fn drop(&mut self) {
        // SAFETY: libvarpd's handle, not answered so far.
        unsafe { sys::libvarpd_plugin_query_reply(self.handle, VARPD_LOOKUP_DROP) }
    }
}

macro_rules! reply {
    ($(#[$doc:meta])* $name:ident, $handle:ident, $function:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            handle: *mut $handle,
            mac: *mut u8,
        }

        // SAFETY: a reply is libvarpd's and may be made from any thread; `mac` belongs to it alone.
        unsafe impl Send for $name {}

        impl $name {
            /// Answers with an address.
            pub fn reply(self, mac: [u8; 6]) {
                let this = ManuallyDrop::new(self);
                // SAFETY: six bytes, valid until the reply; bytes have no alignment. The handle was
                // not answered so far since an answer takes `self`.
                unsafe {
                    this.mac.cast::<[u8; 6]>().write(mac);
                    sys::$function(this.handle, VARPD_LOOKUP_OK);
                }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: libvarpd's handle, not answered so far.
                unsafe { sys::$function(self.handle, VARPD_LOOKUP_DROP) }
            }
        }
    };
}

reply! {
    /// A proxy's question who has an address. Dropped without an answer, nobody has it and the frame
    /// that asked is dropped.
    ArpReply, varpd_arp_handle_t, libvarpd_plugin_arp_reply
}

reply! {
    /// A proxy's question where a DHCP request goes. Dropped without an answer, it goes nowhere.
    DhcpReply, varpd_dhcp_handle_t, libvarpd_plugin_dhcp_reply
}

/// The property that [`Plugin::propinfo`] describes. It starts without name, default and range.
#[derive(Debug)]
pub struct Prop<'a>(*mut varpd_prop_handle_t, PhantomData<&'a mut ()>);

impl Prop<'_> {
    /// Name, type (`OVERLAY_PROP_T_*`) and permissions (`OVERLAY_PROP_PERM_*`).
    pub fn describe(&mut self, name: &CStr, kind: u32, prot: u32) {
        // SAFETY: the handle is valid during vpo_propinfo, which bounds our lifetime.
        unsafe {
            sys::libvarpd_prop_set_name(self.0, name.as_ptr());
            sys::libvarpd_prop_set_type(self.0, kind);
            sys::libvarpd_prop_set_prot(self.0, prot);
        }
    }

    /// Default value. `E2BIG` above 256 bytes.
    pub fn default(&mut self, value: &[u8]) -> Result<(), Errno> {
        let len = isize::try_from(value.len()).map_err(|_| Errno::E2BIG)?;
        // SAFETY: as above, and the value has that length.
        host(unsafe {
            sys::libvarpd_prop_set_default(self.0, value.as_ptr().cast_mut().cast(), len)
        })
    }

    /// The value may be a number from `min` to `max`; may be said several times.
    pub fn range(&mut self, min: u32, max: u32) {
        // SAFETY: as above.
        unsafe { sys::libvarpd_prop_set_range_uint32(self.0, min, max) }
    }

    /// The value may be this text; may be said several times.
    pub fn choice(&mut self, text: &CStr) {
        // SAFETY: as above.
        unsafe { sys::libvarpd_prop_set_range_str(self.0, text.as_ptr()) }
    }
}

/// A name-value list of varpd's, during one call.
#[derive(Debug)]
pub struct NvList<'a>(*mut nvlist_t, PhantomData<&'a mut ()>);

impl NvList<'_> {
    /// The list behind a C pointer.
    ///
    /// # Safety
    /// A list of this process' libnvpair that lives as long as the result and is used by nobody
    /// else meanwhile.
    pub unsafe fn from_raw(list: *mut nvlist_t) -> Self {
        NvList(list, PhantomData)
    }

    /// Adds a number of 16 bits.
    pub fn add_u16(&mut self, name: &CStr, value: u16) -> Result<(), Errno> {
        // SAFETY: the list is valid during the call that lent it.
        host(unsafe { sys::nvlist_add_uint16(self.0, name.as_ptr(), value) })
    }

    /// Adds a number of 32 bits.
    pub fn add_u32(&mut self, name: &CStr, value: u32) -> Result<(), Errno> {
        // SAFETY: as above.
        host(unsafe { sys::nvlist_add_uint32(self.0, name.as_ptr(), value) })
    }

    /// Adds a number of 64 bits.
    pub fn add_u64(&mut self, name: &CStr, value: u64) -> Result<(), Errno> {
        // SAFETY: as above.
        host(unsafe { sys::nvlist_add_uint64(self.0, name.as_ptr(), value) })
    }

    /// Adds a text. `EINVAL` with a NUL inside.
    pub fn add_str(&mut self, name: &CStr, value: &str) -> Result<(), Errno> {
        let value = CString::new(value).map_err(|_| Errno::EINVAL)?;
        // SAFETY: as above.
        host(unsafe { sys::nvlist_add_string(self.0, name.as_ptr(), value.as_ptr()) })
    }

    /// The number of 16 bits with this name, if there is one of that type.
    pub fn u16(&self, name: &CStr) -> Result<Option<u16>, Errno> {
        let mut value = 0;
        // SAFETY: as above.
        found(unsafe { sys::nvlist_lookup_uint16(self.0, name.as_ptr(), &mut value) }, || value)
    }

    /// The number of 32 bits with this name, if there is one of that type.
    pub fn u32(&self, name: &CStr) -> Result<Option<u32>, Errno> {
        let mut value = 0;
        // SAFETY: as above.
        found(unsafe { sys::nvlist_lookup_uint32(self.0, name.as_ptr(), &mut value) }, || value)
    }

    /// The number of 64 bits with this name, if there is one of that type.
    pub fn u64(&self, name: &CStr) -> Result<Option<u64>, Errno> {
        let mut value = 0;
        // SAFETY: as above.
        found(unsafe { sys::nvlist_lookup_uint64(self.0, name.as_ptr(), &mut value) }, || value)
    }

    /// The text with this name, if there is one. `EINVAL` if it is not UTF-8.
    pub fn str(&self, name: &CStr) -> Result<Option<&str>, Errno> {
        let mut value = std::ptr::null_mut();
        // SAFETY: as above.
        let code = unsafe { sys::nvlist_lookup_string(self.0, name.as_ptr(), &mut value) };
        let Some(value) = found(code, || value)? else { return Ok(None) };
        // SAFETY: a C string that belongs to the list, which `self` borrows.
        unsafe { CStr::from_ptr(value) }.to_str().map(Some).map_err(|_| Errno::EINVAL)
    }
}

fn host(code: i32) -> Result<(), Errno> {
    if code == 0 { Ok(()) } else { Err(Errno::from_host(code)) }
}

fn found<T>(code: i32, value: impl Fn() -> T) -> Result<Option<T>, Errno> {
    match host(code) {
        Ok(()) => Ok(Some(value())),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes the crate a plugin: `plugin!(point: Type)` or `plugin!(dynamic: Type)`.
///
/// Emits the operations vector and an init function that registers it while the object is being
/// loaded. A failure to register is the loader's to report; the object then stays loaded and
/// unused.
#[macro_export]
macro_rules! plugin {
    (point: $t:ty) => {
        $crate::plugin!(@emit $t, $crate::shim::point::<$t>());
    };
    (dynamic: $t:ty) => {
        $crate::plugin!(@emit $t, $crate::shim::dynamic::<$t>());
    };
    (routed: $t:ty) => {
        $crate::plugin!(@emit $t, $crate::shim::routed::<$t>());
    };
    (@emit $t:ty, $registration:expr) => {
        const _: () = {
            static REGISTRATION: $crate::shim::Registration = $registration;

            extern "C" fn init() {
                REGISTRATION.register();
            }

            // SAFETY: the section holds addresses of functions to call at load time, and this is
            // one.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = init;
        };
    };
}
