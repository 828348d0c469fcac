// SPDX-License-Identifier: CDDL-1.0
//! Whether a remote serves its instances.
//!
//! It is computed anew from all that the remote knows after each input, and told to the instances when
//! it has changed. A peer counts as failing from its seventh failure in a row to its next good reply, so
//! that a peer which accepts and then says nothing good is none; one that joins when all others are failing
//! counts as failing until it has proved otherwise.

use super::api::{InstanceId, Output};
use super::context::Context;
use super::peer::Peer;
use super::remote::Remote;

/// Why a remote is degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The name does not resolve. The more severe one.
    Dns,
    /// All members are failing.
    Peers,
}

impl Remote {
    /// Whether there are members, and all of them are failing.
    pub(super) fn all_failing(&self) -> bool {
        let mut members = self.peers.values().filter(|peer| peer.member).peekable();
        members.peek().is_some() && members.all(Peer::is_failing)
    }

    /// Tells all instances what has changed.
    pub(super) fn assess(&mut self, cx: &mut Context) {
        let cause = match () {
            () if self.dns.has_failed() => Some(Cause::Dns),
            () if self.all_failing() => Some(Cause::Peers),
            () => None,
        };
        if std::mem::replace(&mut self.degraded, cause) == cause {
            return;
        }
        for instance in self.instances.keys().copied() {
            cx.push(match self.message() {
                Some(message) => Output::Degrade { instance, message },
                None => Output::Restore { instance },
            });
        }
    }

    /// An instance that comes later is told, too.
    pub(super) fn tell(&self, cx: &mut Context, instance: InstanceId) {
        if let Some(message) = self.message() {
            cx.push(Output::Degrade { instance, message });
        }
    }

    /// As it is told to instances.
    pub(super) fn message(&self) -> Option<String> {
        self.degraded.map(|cause| match cause {
            Cause::Dns => {
                format!("failed to resolve or find entries for hostname {}", self.key.host)
            }
            Cause::Peers => "cannot reach any remote peers".to_owned(),
        })
    }
}
