// SPDX-License-Identifier: CDDL-1.0
//! The edge of the proxies: fetch the frame, ask the plugin, have the answer delivered.
//!
//! The plugin is asked inside its gate and given a token of its own; its reply may come before
//! `vpo_arp` or `vpo_dhcp` returns, later, from any thread, or never. No lock is held meanwhile.
use super::arp::Arp;
use super::dhcp::Dhcp;
use super::ndp::Ndp;
use super::{FRAME_MAX, Outcome, Question, Refusal};
use crate::gate::Phase;
use crate::query::{Query, is_nonsense, unknown};
use crate::stats::Lookup;
use crate::token::{Token, Tokens};
use overlay_abi::errno::Errno;
use overlay_abi::provider::*;
use std::net::IpAddr;
use std::sync::Arc;

/// What `vpo_arp` was asked and has not answered.
static ARPS: Tokens<Asked<Neighbour>> = Tokens::new();
/// What `vpo_dhcp` was asked and has not answered.
static DHCPS: Tokens<Asked<Dhcp>> = Tokens::new();

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`super::arp`]
    Arp,
    /// [`super::ndp`]
    Ndp,
    /// [`super::dhcp`]
    Dhcp,
}

/// What `vpo_arp` is asked for.
enum Neighbour {
    Arp(Arp),
    Ndp(Ndp),
}

/// A query whose frame was checked and which the plugin works on.
struct Asked<Q> {
    query: Query,
    question: Q,
}

/// Takes over a query.
pub(crate) fn run(kind: Kind, query: Query) {
    match kind {
        _ if !query.has_frame() => query.refuse(Lookup::Proxied),
        Kind::Arp | Kind::Ndp => resolve(kind, query),
        Kind::Dhcp => redirect(query),
    }
}

fn resolve(kind: Kind, query: Query) {
    let instance = Arc::clone(query.instance());
    let Some(function) = instance.plugin().ops.arp else {
        return refuse(kind, query, Refusal::NoFunction);
    };
    let Some((_pass, private)) = instance.enter(Phase::Started) else {
        return refuse(kind, query, Refusal::NotStarted);
    };
    let question = match kind {
        Kind::Arp => fetch(&query).map(Neighbour::Arp),
        _ => fetch(&query).map(Neighbour::Ndp),
    };
    let question = match question {
        Ok(question) => question,
        Err(why) => return refuse(kind, query, why),
    };
    let address = query.show(question.target());
    let (mac, vlan) = (query.mac_ptr(), query.request().otl_vlan as u16);
    let token = ARPS.insert(Asked { query, question });
    // What it is given is on the query's desk, until the reply or the end of the instance, which the pass keeps off.
    // SAFETY: this plugin's function, a started object, and pointers that live until the reply.
    unsafe { instance.plugin().arp(function, private, token.as_ptr(), (address, vlan), mac) };
}

fn redirect(query: Query) {
    let instance = Arc::clone(query.instance());
    let Some(function) = instance.plugin().ops.dhcp else {
        return refuse(Kind::Dhcp, query, Refusal::NoFunction);
    };
    let Some((_pass, private)) = instance.enter(Phase::Started) else {
        return refuse(Kind::Dhcp, query, Refusal::NotStarted);
    };
    let question = match fetch(&query) {
        Ok(question) => question,
        Err(why) => return refuse(Kind::Dhcp, query, why),
    };
    let (pointers, mac) = (query.pointers(), query.mac_ptr());
    let token = DHCPS.insert(Asked { query, question });
    // SAFETY: as in `resolve`.
    unsafe { instance.plugin().dhcp(function, private, token.as_ptr(), pointers, mac) };
}

/// The frame of a query, checked.
fn fetch<Q: Question>(query: &Query) -> Result<Q, Refusal> {
    let layout = Q::admit(query.request())?;
    let varpd = query.instance().varpd().ok_or(Refusal::NoFrame(Errno::ENXIO))?;
    // Large enough for every answer too.
    let mut frame = vec![0; FRAME_MAX];
    let size = varpd
        .device()
        .packet(query.request().otl_reqid, &mut frame[..layout.size()])
        .map_err(Refusal::NoFrame)?;
    frame.truncate(size);
    Q::parse(layout, frame)
}

impl Neighbour {
    fn target(&self) -> IpAddr {
        match self {
            Neighbour::Arp(arp) => arp.target().into(),
            Neighbour::Ndp(ndp) => ndp.target().into(),
        }
    }
}

/// The plugin's answer to `vpo_arp`. The error says what is wrong with the handle.
pub(crate) fn arp_reply(handle: *mut varpd_arp_handle_t, action: i32) -> Result<(), &'static str> {
    let token = Token::from_ptr(handle);
    let Asked { query, question } = ARPS.remove(token).ok_or_else(|| unknown(token))?;
    match question {
        Neighbour::Arp(arp) => finish(Kind::Arp, query, arp, action),
        Neighbour::Ndp(ndp) => finish(Kind::Ndp, query, ndp, action),
    }
    Ok(())
}

/// The plugin's answer to `vpo_dhcp`. The error says what is wrong with the handle.
pub(crate) fn dhcp_reply(
    handle: *mut varpd_dhcp_handle_t,
    action: i32,
) -> Result<(), &'static str> {
    let token = Token::from_ptr(handle);
    let Asked { query, question } = DHCPS.remove(token).ok_or_else(|| unknown(token))?;
    finish(Kind::Dhcp, query, question, action);
    Ok(())
}

fn finish<Q: Question>(kind: Kind, query: Query, question: Q, action: i32) {
    let outcome = if action == VARPD_LOOKUP_OK {
        match deliver(kind, &query, question) {
            Ok(()) => Outcome::Answered,
            Err(why) => Outcome::Refused(why),
        }
    } else {
        if is_nonsense(action)
            && let Some(varpd) = query.instance().varpd()
        {
            slog::error!(varpd.log(), "plugin answered {kind:?} with nonsense, which drops it";
                "plugin" => query.instance().plugin().name(), "action" => action);
        }
        Outcome::NoAnswer
    };
    end(kind, query, outcome);
}

fn deliver<Q: Question>(kind: Kind, query: &Query, question: Q) -> Result<(), Refusal> {
    let mut frame = question.answer(query.mac())?;
    let varpd = query.instance().varpd().ok_or(Refusal::NotTaken(Errno::ENXIO))?;
    let request = query.request().otl_reqid;
    let taken = match kind {
        Kind::Arp | Kind::Ndp => varpd.device().inject_for(request, &mut frame),
        Kind::Dhcp => varpd.device().resend_for(request, &mut frame),
    };
    taken.map_err(Refusal::NotTaken)
}

fn refuse(kind: Kind, query: Query, why: Refusal) {
    end(kind, query, Outcome::Refused(why));
}

/// The one end of every query that a proxy took over.
fn end(kind: Kind, query: Query, outcome: Outcome) {
    query.instance().stats.proxied(query.request(), kind, outcome);
    if let Some(varpd) = query.instance().varpd() {
        let (log, instance) = (varpd.log(), query.instance().id().0);
        match outcome {
            Outcome::Refused(why @ Refusal::NoFunction) => {
                slog::warn!(log, "{kind:?} not proxied: {why}"; "instance" => instance,
                    "plugin" => query.instance().plugin().name());
            }
            // Guests cause these as they like.
            Outcome::Refused(why) => {
                slog::debug!(log, "{kind:?} not proxied: {why}"; "instance" => instance);
            }
            Outcome::Answered | Outcome::NoAnswer => {}
        }
    }
    query.refuse(Lookup::Proxied);
}

/// Takes from a plugin the queries that `which` says.
pub(crate) fn abandon(which: impl Fn(&Query) -> bool) -> Vec<(Token, Query)> {
    let arps = ARPS.remove_all(|asked| which(&asked.query));
    let dhcps = DHCPS.remove_all(|asked| which(&asked.query));
    let arps = arps.into_iter().map(|(token, asked)| (token, asked.query));
    arps.chain(dhcps.into_iter().map(|(token, asked)| (token, asked.query))).collect()
}
