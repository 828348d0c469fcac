// SPDX-License-Identifier: CDDL-1.0
//! The dynamic half at its C edge: this test is the process that loads the plugin, and writes down what
//! the plugin calls.
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::net::{IpAddr, Ipv4Addr};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::Mutex;
use varpd_plugin::overlay_abi::errno::Errno;
use varpd_plugin::overlay_abi::provider::*;
use varpd_plugin::overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use varpd_plugin::{ArpReply, DhcpReply, Dynamic, NvList, Plugin, Prop, Provider, Query};
use zerocopy::FromZeros;

/// Does what the Ethernet or IP address it is asked for says.
struct Obedient(Mutex<Vec<Query>>);

varpd_plugin::plugin!(dynamic: Obedient);

const REPLY: u8 = 1;
const DROP: u8 = 2;
const PANIC: u8 = 3;
const ARP: u8 = 4;
const NDP: u8 = 5;
const DHCP: u8 = 6;
const KEEP: u8 = 7;

impl Plugin for Obedient {
    const NAME: &'static CStr = c"obedient";

    fn create(provider: Provider, _: u32) -> Result<Self, Errno> {
        provider.inject_arp(7, [1; 6], Ipv4Addr::new(192, 0, 2, 1), [0xff; 6]);
        Ok(Obedient(Mutex::default()))
    }
    fn start(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn stop(&self) {
        self.0.lock().unwrap().clear();
    }
    fn nprops(&self) -> u32 {
        0
    }
    fn propinfo(&self, _: u32, _: &mut Prop<'_>) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn getprop(&self, _: &str, _: &mut [u8]) -> Result<u32, Errno> {
        Err(Errno::EINVAL)
    }
    fn setprop(&self, _: &str, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn save(&self, _: &mut NvList<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn restore(_: &NvList<'_>, provider: Provider, dest: u32) -> Result<Self, Errno> {
        Obedient::create(provider, dest)
    }
}

impl Dynamic for Obedient {
    fn lookup(&self, query: Query) {
        match query.request().otl_dstaddr[5] {
            REPLY => {
                let mut point = overlay_target_point_t::new_zeroed();
                point.otp_port = 4789;
                query.reply(&point);
            }
            ARP => query.proxy_arp(),
            NDP => query.proxy_ndp(),
            DHCP => query.proxy_dhcp(),
            KEEP => self.0.lock().unwrap().push(query),
            PANIC => panic!("asked for it"),
            _ => drop(query),
        }
    }

    fn arp(&self, reply: ArpReply, addr: IpAddr) {
        let last = match addr {
            IpAddr::V4(a) => a.octets()[3],
            IpAddr::V6(a) => a.octets()[15],
        };
        match last {
            REPLY => reply.reply([2, 8, 0x20, 0, u8::from(addr.is_ipv6()), last]),
            PANIC => panic!("asked for it"),
            _ => drop(reply),
        }
    }

    fn dhcp(&self, reply: DhcpReply, request: &overlay_targ_lookup_t) {
        match request.otl_srcaddr[5] {
            REPLY => reply.reply([2, 8, 0x20, 0, 0, 9]),
            PANIC => panic!("asked for it"),
            _ => drop(reply),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Reply(usize, c_int),
    Proxy(&'static str, usize, usize),
    ArpReply(usize, c_int),
    DhcpReply(usize, c_int),
    InjectArp(usize, u16, [u8; 6], [u8; 4], [u8; 6]),
}

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

fn called(call: Call) {
    CALLS.with_borrow_mut(|calls| calls.push(call));
}

/// What was called since the last time.
fn calls() -> Vec<Call> {
    CALLS.take()
}

struct Ops(*const varpd_plugin_ops_t);
// SAFETY: functions, which stay.
unsafe impl Send for Ops {}
static OPS: Mutex<Ops> = Mutex::new(Ops(null()));

fn ops() -> varpd_plugin_ops_t {
    let ops = OPS.lock().unwrap().0;
    assert!(!ops.is_null(), "the init section has registered the plugin");
    // SAFETY: registered below, and it stays.
    unsafe { *ops }
}

#[unsafe(no_mangle)]
extern "C" fn libvarpd_plugin_alloc(v: c_uint, _: *mut c_int) -> *mut varpd_plugin_register_t {
    Box::into_raw(Box::new(varpd_plugin_register_t {
        vpr_version: v,
        vpr_mode: 0,
        vpr_name: null(),
        vpr_ops: null(),
    }))
}
#[unsafe(no_mangle)]
unsafe extern "C" fn libvarpd_plugin_register(r: *mut varpd_plugin_register_t) -> c_int {
    // SAFETY: the plugin's registration.
    OPS.lock().unwrap().0 = unsafe { (*r).vpr_ops };
    0
}
#[unsafe(no_mangle)]
unsafe extern "C" fn libvarpd_plugin_free(r: *mut varpd_plugin_register_t) {
    // SAFETY: from Box::into_raw above.
    drop(unsafe { Box::from_raw(r) });
}
#[unsafe(no_mangle)]
extern "C" fn libvarpd_plugin_query_reply(query: *mut varpd_query_handle_t, action: c_int) {
    called(Call::Reply(query.addr(), action));
}
macro_rules! proxies {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(
            provider: *mut varpd_provider_handle_t,
            query: *mut varpd_query_handle_t,
            _: *const overlay_targ_lookup_t,
        ) {
            called(Call::Proxy(stringify!($name), provider.addr(), query.addr()));
        }
    )*};
}
proxies!(libvarpd_plugin_proxy_arp libvarpd_plugin_proxy_ndp libvarpd_plugin_proxy_dhcp);
#[unsafe(no_mangle)]
extern "C" fn libvarpd_plugin_arp_reply(handle: *mut varpd_arp_handle_t, action: c_int) {
    called(Call::ArpReply(handle.addr(), action));
}
#[unsafe(no_mangle)]
extern "C" fn libvarpd_plugin_dhcp_reply(handle: *mut varpd_dhcp_handle_t, action: c_int) {
    called(Call::DhcpReply(handle.addr(), action));
}
#[unsafe(no_mangle)]
unsafe extern "C" fn libvarpd_inject_arp(
    provider: *mut varpd_provider_handle_t,
    vlan: u16,
    src: *const [u8; 6],
    ip: *const [u8; 4],
    dst: *const [u8; 6],
) {
    // SAFETY: the plugin's addresses.
    let (src, ip, dst) = unsafe { (*src, *ip, *dst) };
    called(Call::InjectArp(provider.addr(), vlan, src, ip, dst));
}
// Bound to, and not called by this plugin.
#[unsafe(no_mangle)]
extern "C" fn libvarpd_prop_set_name(_: *mut varpd_prop_handle_t, _: *const c_char) {}

const PROVIDER: usize = 77;
const HANDLE: usize = 5;

/// An object of the plugin.
struct Object(*mut c_void);

impl Object {
    fn new() -> Object {
        let mut private = null_mut();
        let provider = without_provenance_mut(PROVIDER);
        // SAFETY: as libvarpd calls it.
        assert_eq!(unsafe { ops().vpo_create.unwrap()(provider, &mut private, 6) }, 0);
        Object(private)
    }

    /// What the plugin calls for a lookup, and the port it answers.
    fn lookup(&self, what: u8) -> (Vec<Call>, u16) {
        calls();
        let mut request = overlay_targ_lookup_t::new_zeroed();
        request.otl_dstaddr[5] = what;
        let mut point = overlay_target_point_t::new_zeroed();
        let query = without_provenance_mut(HANDLE);
        // SAFETY: as libvarpd calls it; KEEP is not answered after this.
        unsafe { ops().vpo_lookup.unwrap()(self.0, query, &request, &mut point) };
        (calls(), point.otp_port)
    }

    fn arp(&self, qtype: c_int, addr: *const c_void) -> (Vec<Call>, [u8; 6]) {
        calls();
        let mut mac = [0; 6];
        let handle = without_provenance_mut(HANDLE);
        // SAFETY: as libvarpd calls it.
        unsafe { ops().vpo_arp.unwrap()(self.0, handle, qtype, addr.cast(), mac.as_mut_ptr()) };
        (calls(), mac)
    }

    fn dhcp(&self, qtype: c_int, what: u8) -> (Vec<Call>, [u8; 6]) {
        calls();
        let mut request = overlay_targ_lookup_t::new_zeroed();
        request.otl_srcaddr[5] = what;
        let mut mac = [0; 6];
        let handle = without_provenance_mut(HANDLE);
        // SAFETY: as libvarpd calls it.
        unsafe { ops().vpo_dhcp.unwrap()(self.0, handle, qtype, &request, mac.as_mut_ptr()) };
        (calls(), mac)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: as libvarpd calls it, once.
        unsafe { ops().vpo_destroy.unwrap()(self.0) }
    }
}

fn v4(last: u8) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([192, 0, 2, last]) },
        sin_zero: [0; 8],
    }
}

fn v6(last: u8) -> libc::sockaddr_in6 {
    // SAFETY: plain numbers.
    let mut addr: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    addr.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    addr.sin6_addr.s6_addr[15] = last;
    addr
}

#[test]
fn every_query_is_answered_once_or_handed_over_once() {
    let object = Object::new();
    let inject = Call::InjectArp(PROVIDER, 7, [1; 6], [192, 0, 2, 1], [0xff; 6]);
    assert_eq!(calls(), [inject]);
    assert_eq!(object.lookup(REPLY), (vec![Call::Reply(HANDLE, 0)], 4789));
    assert_eq!(object.lookup(DROP), (vec![Call::Reply(HANDLE, -1)], 0));
    assert_eq!(object.lookup(PANIC), (vec![Call::Reply(HANDLE, -1)], 0));
    for (what, name) in [
        (ARP, "libvarpd_plugin_proxy_arp"),
        (NDP, "libvarpd_plugin_proxy_ndp"),
        (DHCP, "libvarpd_plugin_proxy_dhcp"),
    ] {
        assert_eq!(object.lookup(what), (vec![Call::Proxy(name, PROVIDER, HANDLE)], 0));
    }
    assert_eq!(object.lookup(KEEP), (vec![], 0));
    // SAFETY: as libvarpd calls it.
    unsafe { ops().vpo_stop.unwrap()(object.0) };
    assert_eq!(calls(), [Call::Reply(HANDLE, -1)], "a query that was kept is dropped at the stop");
}

#[test]
fn every_address_question_is_answered_once() {
    let object = Object::new();
    let dropped = (vec![Call::ArpReply(HANDLE, -1)], [0; 6]);
    let found = |v6| (vec![Call::ArpReply(HANDLE, 0)], [2, 8, 0x20, 0, v6, REPLY]);
    let (yes4, yes6) = (v4(REPLY), v6(REPLY));
    assert_eq!(object.arp(0, (&raw const yes4).cast()), found(0));
    assert_eq!(object.arp(0, (&raw const yes6).cast()), found(1));
    assert_eq!(object.arp(1, (&raw const yes4).cast()), dropped, "another kind of question");
    for last in [DROP, PANIC] {
        let (no4, no6) = (v4(last), v6(last));
        assert_eq!(object.arp(0, (&raw const no4).cast()), dropped);
        assert_eq!(object.arp(0, (&raw const no6).cast()), dropped);
    }
    let mut other = v6(REPLY);
    other.sin6_family = libc::AF_UNIX as libc::sa_family_t;
    assert_eq!(object.arp(0, (&raw const other).cast()), dropped, "another family");
}

#[test]
fn every_dhcp_question_is_answered_once() {
    let object = Object::new();
    let dropped = (vec![Call::DhcpReply(HANDLE, -1)], [0; 6]);
    let found = (vec![Call::DhcpReply(HANDLE, 0)], [2, 8, 0x20, 0, 0, 9]);
    assert_eq!(object.dhcp(0, REPLY), found);
    assert_eq!(object.dhcp(1, REPLY), dropped);
    assert_eq!(object.dhcp(0, DROP), dropped);
    assert_eq!(object.dhcp(0, PANIC), dropped);
}
