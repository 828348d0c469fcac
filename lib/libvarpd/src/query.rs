// SPDX-License-Identifier: CDDL-1.0
//! One lookup, from the kernel's question to the one answer it gets (spec/varpd.md 2.4).
//!
//! ```text
//!   LOOKUP --> Query --> token, to vpo_lookup --+-- query_reply(OK) ----> found  --> RESPOND
//!                                               +-- query_reply(DROP) --> refuse --> DROP
//!                                               +-- query_unknown ------> unknown -> DROP
//!                                               +-- proxy_arp, ... -----> proxy  --> DROP
//!                                               +-- destroyed unanswered -------> DROP
//! ```
//!
//! A neighbour solicitation for a router goes to the proxy at once: to the plugin it would look like
//! any packet that the router is to pass on.
//!
//! When varpd has begun it [asks some itself](crate::recheck); their answers go to the kernel's cache.
//!
//! A [`Query`] is a value that somebody owns: the table of tokens while the plugin thinks, then
//! whoever took it from there. An answer consumes it; one that is dropped without is answered by a
//! drop and counted as forgotten. So each gets exactly one answer.
//!
//! The plugin is given a token, and pointers into a [`Desk`]. It may reply before `vpo_lookup`
//! returns, later, or from another thread. It may also never reply, then the query is taken from it
//! after its instance was destroyed; and reply still later, writing to the desk first, which is why
//! the desks of such queries are kept a while.
use crate::device::{Destination, Question, point_v1};
use crate::gate::Phase;
use crate::instance::Instance;
use crate::plugin::Kind;
use crate::recheck::Check;
use crate::stats::{Asked, Lookup};
use crate::token::{Token, Tokens};
use crate::{Varpd, lock, proxy};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, VarpdId};
use overlay_abi::provider::{VARPD_LOOKUP_DROP, VARPD_LOOKUP_OK, sockaddr, varpd_query_handle_t};
use overlay_abi::target::v2::{self, About};
use overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use zerocopy::FromZeros;

/// Queries that plugins have not answered yet.
static QUERIES: Tokens<Query> = Tokens::new();

/// Desks whose query was taken away from a plugin, oldest first.
static ABANDONED: Mutex<VecDeque<(Token, Arc<Desk>)>> = Mutex::new(VecDeque::new());

/// How many of those are kept: less than a megabyte, and more queries than a plugin's threads work
/// on at once.
const ABANDONED_MAX: usize = 4096;

/// What a plugin has pointers to while it works on a query. Nobody else uses it, except before a
/// pointer is given out and after the plugin has replied.
pub(crate) struct Desk {
    request: UnsafeCell<overlay_targ_lookup_t>,
    point: UnsafeCell<overlay_target_point_t>,
    /// The same for a plugin of version 2.
    request_v2: UnsafeCell<v2::overlay_targ_lookup_t>,
    to: UnsafeCell<Destination>,
    address: UnsafeCell<Address>,
    mac: UnsafeCell<[u8; 6]>,
}

/// Where on a desk a plugin finds and puts what it is asked; which of it counts depends on its
/// version.
#[derive(Clone, Copy)]
pub(crate) struct Pointers {
    pub request: *const overlay_targ_lookup_t,
    pub point: *mut overlay_target_point_t,
    pub request_v2: *const v2::overlay_targ_lookup_t,
    pub point_v2: *mut v2::overlay_target_point_t,
    pub route: *mut v2::overlay_target_route_t,
    pub mac: *mut v2::overlay_target_mac_t,
}

impl Desk {
    fn new(question: &Question) -> Desk {
        Desk {
            request: UnsafeCell::new(question.frame),
            point: UnsafeCell::new(FromZeros::new_zeroed()),
            request_v2: UnsafeCell::new(request_v2(question)),
            to: UnsafeCell::new(Destination {
                point: FromZeros::new_zeroed(),
                route: FromZeros::new_zeroed(),
                mac: FromZeros::new_zeroed(),
            }),
            address: UnsafeCell::new(Address::new([0; 4].into())),
            mac: UnsafeCell::new([0; 6]),
        }
    }

    fn pointers(&self) -> Pointers {
        let to = self.to.get();
        // SAFETY: only addresses of members are formed, of what the desk holds.
        let (point_v2, route, mac) =
            unsafe { (&raw mut (*to).point, &raw mut (*to).route, &raw mut (*to).mac) };
        Pointers {
            request: self.request.get(),
            point: self.point.get(),
            request_v2: self.request_v2.get(),
            point_v2,
            route,
            mac,
        }
    }
}

/// A question in the words of version 2.
fn request_v2(Question { frame, route }: &Question) -> v2::overlay_targ_lookup_t {
    let mut request = v2::overlay_targ_lookup_t::new_zeroed();
    (request.otl_dlid, request.otl_reqid) = (frame.otl_dlid, frame.otl_reqid);
    (request.otl_varpdid, request.otl_vnetid) = (frame.otl_varpdid, frame.otl_vnetid);
    (request.otl_hdrsize, request.otl_pktsize) = (frame.otl_hdrsize, frame.otl_pktsize);
    request.otl_vlan = frame.otl_vlan;
    request.set_about(match route {
        Some(route) => About::L3(*route),
        None => About::L2(v2::overlay_targ_l2_t {
            otl2_srcaddr: frame.otl_srcaddr,
            otl2_dstaddr: frame.otl_dstaddr,
            otl2_dsttype: frame.otl_dsttype,
            otl2_sap: frame.otl_sap,
        }),
    });
    request
}

// SAFETY: plain data, passed to and fro by the protocol above.
unsafe impl Send for Desk {}
// SAFETY: as above.
unsafe impl Sync for Desk {}

/// An address of either family, as C has it.
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    fn new(ip: IpAddr) -> Address {
        // SAFETY: numbers only, for which zero is a value.
        let mut address: Address = unsafe { std::mem::zeroed() };
        match ip {
            IpAddr::V4(ip) => {
                address.v4.sin_family = libc::AF_INET as _;
                address.v4.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
            }
            IpAddr::V6(ip) => {
                address.v6.sin6_family = libc::AF_INET6 as _;
                address.v6.sin6_addr.s6_addr = ip.octets();
            }
        }
        address
    }
}

/// See the module.
pub(crate) struct Query {
    /// Our own copy: what the plugin does to the one on its desk is its affair.
    request: overlay_targ_lookup_t,
    instance: Arc<Instance>,
    desk: Arc<Desk>,
    /// Until it is answered.
    asker: Option<Asker>,
}

/// Who wants to know.
enum Asker {
    /// The kernel, which has a frame that waits.
    Kernel(Asked),
    /// We, about an entry of the kernel's cache.
    Check(Check),
}

impl Query {
    /// Whether there is a frame that it is about.
    pub(crate) fn has_frame(&self) -> bool {
        matches!(self.asker, Some(Asker::Kernel(_)))
    }

    /// What was asked.
    pub(crate) fn request(&self) -> &overlay_targ_lookup_t {
        &self.request
    }

    /// Who was asked.
    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The request as the plugin sees it, until it replies.
    pub(crate) fn pointers(&self) -> Pointers {
        self.desk.pointers()
    }

    /// Where the plugin puts an Ethernet address, until it replies.
    pub(crate) fn mac_ptr(&self) -> *mut u8 {
        self.desk.mac.get().cast()
    }

    /// An address for the plugin, which it may read until it replies.
    pub(crate) fn show(&self, ip: IpAddr) -> *const sockaddr {
        // SAFETY: the query is ours, so the plugin has replied to what it was asked before.
        unsafe { self.desk.address.get().write(Address::new(ip)) };
        self.desk.address.get().cast()
    }

    /// The Ethernet address that the plugin has put there, after its reply.
    pub(crate) fn mac(&self) -> MacAddr {
        // SAFETY: the query is ours, so the plugin has replied.
        MacAddr(unsafe { self.desk.mac.get().read() })
    }

    /// Answers with the destination that the plugin has put there: the frame goes.
    fn found(mut self) {
        let found = if self.instance.plugin().is_routed() {
            // SAFETY: the query is ours, so the plugin has replied.
            Found::Routed(unsafe { self.desk.to.get().read() })
        } else {
            // SAFETY: as above.
            Found::Point(clean(&unsafe { self.desk.point.get().read() }))
        };
        self.answer(Lookup::Found, Some(found));
    }

    /// Answers that the frame be dropped; `how` is what led to that.
    pub(crate) fn refuse(mut self, how: Lookup) {
        self.answer(how, None);
    }

    /// Answers that nobody can say: the frame is dropped, and an entry of the kernel's cache stays.
    pub(crate) fn unknown(mut self) {
        match self.asker {
            Some(Asker::Check(_)) => self.asker = None,
            _ => self.refuse(Lookup::Dropped),
        }
    }

    /// The one answer: where to, or a drop.
    fn answer(&mut self, how: Lookup, found: Option<Found>) {
        let Some(asker) = self.asker.take() else { return };
        if let Asker::Kernel(asked) = &asker {
            self.instance.stats.ended(*asked, how);
        }
        // Without a varpd the device is closed, and the kernel has taken the request back.
        let Some(varpd) = self.instance.varpd() else { return };
        match (asker, found) {
            (Asker::Check(check), found) => {
                check.answer(&varpd, self.instance.link(), found.and_then(Found::point));
            }
            (Asker::Kernel(_), Some(found)) => {
                let id = self.request.otl_reqid;
                let taken = match found {
                    Found::Point(point) => varpd.device.respond(id, point),
                    Found::Routed(to) => varpd.device.respond_v2(id, &to),
                };
                match taken {
                    // Either the request is not known any more, or the kernel did not like the
                    // answer and still waits.
                    Err(e @ Errno::EINVAL) => {
                        self.instance.stats.not_taken(e);
                        drop_request(&varpd, &self.request);
                    }
                    result => settle(&varpd, &self.request, result),
                }
            }
            (Asker::Kernel(_), None) => {
                if how == Lookup::Forgotten {
                    varpd.stats.forgotten();
                }
                drop_request(&varpd, &self.request);
            }
        }
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        self.answer(Lookup::Forgotten, None);
    }
}

/// A destination as a plugin has it.
enum Found {
    Point(overlay_target_point_t),
    Routed(Destination),
}

impl Found {
    /// Where frames for a guest go; `None` for a router.
    fn point(self) -> Option<overlay_target_point_t> {
        match self {
            Found::Point(point) => Some(point),
            Found::Routed(to) if to.point.is_router() => None,
            Found::Routed(to) => Some(point_v1(&to.point)),
        }
    }
}

/// A point of a plugin without what may lie between its members.
pub(crate) fn clean(point: &overlay_target_point_t) -> overlay_target_point_t {
    overlay_target_point_t { otp_mac: point.otp_mac, ..point.underlay().into() }
}

/// Hands a request to the plugin of its instance, or drops it if nobody is there to answer.
pub(crate) fn handle(varpd: &Arc<Varpd>, question: Question) {
    let request = question.frame;
    let instance = varpd.instance(VarpdId(request.otl_varpdid));
    let Some(instance) = instance else { return discard(varpd, &request, "no such instance") };
    if u64::from(instance.link().0) != request.otl_dlid {
        // A link that an earlier varpd associated, whose instance had a number that is another
        // one's by now.
        return discard(varpd, &request, "the instance is of another link");
    }
    let asker = || Asker::Kernel(instance.stats.asked(&request, question.route.is_some()));
    if let Err(why) = ask(&instance, question, asker) {
        discard(varpd, &request, why);
    }
}

/// Asks an instance's plugin about an entry of the kernel's cache. After an error it is not asked.
pub(crate) fn check(
    instance: &Arc<Instance>,
    request: overlay_targ_lookup_t,
    check: impl FnOnce() -> Check,
) -> Result<(), &'static str> {
    ask(instance, Question { frame: request, route: None }, || Asker::Check(check()))
}

/// Hands a request to a plugin. The error says why not.
fn ask(
    instance: &Arc<Instance>,
    question: Question,
    asker: impl FnOnce() -> Asker,
) -> Result<(), &'static str> {
    let Kind::Dynamic(lookup) = instance.plugin().kind else {
        return Err("the instance's plugin is not dynamic");
    };
    if question.route.is_some() && !instance.plugin().is_routed() {
        return Err("the instance's plugin knows no routes");
    }
    let Some((_pass, private)) = instance.enter(Phase::Started) else {
        return Err("the instance is not started");
    };
    let desk = Arc::new(Desk::new(&question));
    let pointers = desk.pointers();
    let request = question.frame;
    let query = Query { request, instance: Arc::clone(instance), desk, asker: Some(asker()) };
    if proxy::asks_router(&request) {
        proxy::run(proxy::Kind::Ndp, query);
        return Ok(());
    }
    let token = QUERIES.insert(query);
    // The desk lives until the reply, which the plugin makes itself, or the end of the instance, which the pass keeps off.
    // SAFETY: this plugin's function, a started object, and pointers that live until the reply.
    unsafe { instance.plugin().lookup(lookup, private, token.as_ptr(), pointers) };
    Ok(())
}

fn discard(varpd: &Varpd, request: &overlay_targ_lookup_t, why: &str) {
    varpd.stats.unplaced();
    slog::warn!(varpd.log, "lookup dropped: {why}";
        "instance" => request.otl_varpdid, "link" => request.otl_dlid);
    drop_request(varpd, request);
}

/// Takes a query from its plugin: who has it must answer. The error says what is wrong with the
/// handle.
pub(crate) fn take(handle: *mut varpd_query_handle_t) -> Result<Query, &'static str> {
    let token = Token::from_ptr(handle);
    QUERIES.remove(token).ok_or_else(|| unknown(token))
}

/// The plugin's answer. The error says what is wrong with the handle.
pub(crate) fn reply(handle: *mut varpd_query_handle_t, action: i32) -> Result<(), &'static str> {
    let query = take(handle)?;
    match (action, query.instance.varpd()) {
        (VARPD_LOOKUP_OK, _) => query.found(),
        (action, varpd) => {
            if let (true, Some(varpd)) = (is_nonsense(action), varpd) {
                slog::error!(varpd.log, "plugin answered a lookup with nonsense, which drops it";
                    "plugin" => query.instance.plugin().name(), "action" => action);
            }
            query.refuse(Lookup::Dropped);
        }
    }
    Ok(())
}

/// Whether it is neither OK nor DROP.
pub(crate) fn is_nonsense(action: i32) -> bool {
    action != VARPD_LOOKUP_OK && action != VARPD_LOOKUP_DROP
}

/// What is wrong with a token that is not in its table. The desk that belongs to it, if any, is not
/// needed any more.
pub(crate) fn unknown(token: Token) -> &'static str {
    let mut abandoned = lock(&ABANDONED);
    match abandoned.iter().position(|(late, _)| *late == token) {
        Some(at) => {
            abandoned.remove(at);
            "the handle of a query whose instance was destroyed meanwhile"
        }
        None => "a handle that is none, or was answered before",
    }
}

/// Drops the queries that the plugin of a destroyed instance has left unanswered.
pub(crate) fn abandon(instance: &Arc<Instance>) {
    let mut left = QUERIES.remove_all(|query| Arc::ptr_eq(&query.instance, instance));
    left.extend(proxy::abandon(|query| Arc::ptr_eq(&query.instance, instance)));
    if left.is_empty() {
        return;
    }
    if let Some(varpd) = instance.varpd() {
        slog::warn!(varpd.log, "plugin was destroyed with lookups unanswered, which drops them";
            "plugin" => instance.plugin().name(), "instance" => instance.id().0,
            "lookups" => left.len());
    }
    let mut abandoned = lock(&ABANDONED);
    abandoned.extend(left.iter().map(|(token, query)| (*token, Arc::clone(&query.desk))));
    let too_many = abandoned.len().saturating_sub(ABANDONED_MAX);
    abandoned.drain(..too_many);
    drop(abandoned);
    // The kernel is told here.
    drop(left);
}

fn drop_request(varpd: &Varpd, request: &overlay_targ_lookup_t) {
    settle(varpd, request, varpd.device.drop_request(request.otl_reqid));
}

/// Whether the kernel took the answer. It may have forgotten the request, with its link for
/// example.
fn settle(varpd: &Varpd, request: &overlay_targ_lookup_t, result: Result<(), Errno>) {
    match result {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(e) => slog::error!(varpd.log, "cannot answer a lookup";
            "request" => request.otl_reqid, "error" => e.name()),
    }
}
