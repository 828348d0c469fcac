// SPDX-License-Identifier: CDDL-1.0
//! One lookup, from the kernel's question to the one answer it gets (spec/varpd.md 2.4).
//!
//! The plugin is given a token, and pointers to the request and the answer, which live until it
//! replies. It may reply before `vpo_lookup` returns, later, or from another thread.
use crate::Varpd;
use crate::gate::Phase;
use crate::instance::Instance;
use crate::plugin::Kind;
use crate::token::{Token, Tokens};
use overlay_abi::errno::Errno;
use overlay_abi::ids::VarpdId;
use overlay_abi::provider::{VARPD_LOOKUP_DROP, VARPD_LOOKUP_OK, varpd_query_handle_t};
use overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use std::ptr::NonNull;
use std::sync::Arc;
use zerocopy::FromZeros;

/// Queries that plugins have not answered yet.
static QUERIES: Tokens<Query> = Tokens::new();

/// Owns memory that a plugin has raw pointers to.
struct Query(NonNull<Body>);

struct Body {
    request: overlay_targ_lookup_t,
    point: overlay_target_point_t,
    instance: Arc<Instance>,
}

// SAFETY: the body is plain data and an Arc; whoever has the Query owns it.
unsafe impl Send for Query {}

impl Drop for Query {
    fn drop(&mut self) {
        // SAFETY: from Box::leak in `handle`, freed here only.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Hands a request to the plugin of its instance, or drops it if nobody is there to answer.
pub(crate) fn handle(varpd: &Arc<Varpd>, request: overlay_targ_lookup_t) {
    let instance = varpd.instance(VarpdId(request.otl_varpdid));
    let Some(instance) = instance else { return discard(varpd, &request, "no such instance") };
    if u64::from(instance.link().0) != request.otl_dlid {
        // A link that an earlier varpd associated, whose instance had a number that is another
        // one's by now.
        return discard(varpd, &request, "the instance is of another link");
    }
    let Kind::Dynamic(lookup) = instance.plugin().kind else {
        return discard(varpd, &request, "the instance's plugin is not dynamic");
    };
    let Some((_pass, private)) = instance.enter(Phase::Started) else {
        return discard(varpd, &request, "the instance is not started");
    };
    let point = overlay_target_point_t::new_zeroed();
    let body = Box::new(Body { request, point, instance: Arc::clone(&instance) });
    let body = NonNull::from(Box::leak(body));
    // SAFETY: addresses of members of a live body; no reference to it is made until the reply.
    let (request, point) =
        unsafe { (&raw const (*body.as_ptr()).request, &raw mut (*body.as_ptr()).point) };
    let token = QUERIES.insert(Query(body));
    // SAFETY: this plugin's function and a started object. The body lives until the reply, which
    // the plugin makes itself.
    unsafe { instance.plugin().lookup(lookup, private, token.as_ptr(), request, point) };
}

fn discard(varpd: &Varpd, request: &overlay_targ_lookup_t, why: &str) {
    slog::warn!(varpd.log, "lookup dropped: {why}";
        "instance" => request.otl_varpdid, "link" => request.otl_dlid);
    settle(varpd, request.otl_reqid, varpd.device.drop_request(request.otl_reqid));
}

/// The plugin's answer. `false` if there is no such query: it was answered already, or never was.
pub(crate) fn reply(handle: *mut varpd_query_handle_t, action: i32) -> bool {
    let Some(query) = QUERIES.remove(Token::from_ptr(handle)) else { return false };
    // SAFETY: the plugin has replied and may not use its pointers any more; the query is ours
    // alone.
    let body = unsafe { query.0.as_ref() };
    // Without a varpd the device is closed, and the kernel has taken the request back.
    let Some(varpd) = body.instance.varpd() else { return true };
    let id = body.request.otl_reqid;
    let result = match action {
        VARPD_LOOKUP_OK => varpd.device.respond(id, body.point),
        action => {
            if action != VARPD_LOOKUP_DROP {
                slog::error!(varpd.log, "plugin answered a lookup with nonsense, which drops it";
                    "plugin" => body.instance.plugin().name(), "action" => action);
            }
            varpd.device.drop_request(id)
        }
    };
    let result = match result {
        // Either the request is not known any more, or the kernel did not like the answer and still
        // waits.
        Err(Errno::EINVAL) if action == VARPD_LOOKUP_OK => varpd.device.drop_request(id),
        result => result,
    };
    settle(&varpd, id, result);
    true
}

/// Whether the kernel took the answer. It may have forgotten the request, with its link for
/// example.
fn settle(varpd: &Varpd, request: u64, result: Result<(), Errno>) {
    match result {
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(e) => slog::error!(varpd.log, "cannot answer a lookup";
            "request" => request, "error" => e.name()),
    }
}
