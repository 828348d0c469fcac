// SPDX-License-Identifier: CDDL-1.0
//! How much and how long.

use super::api::Time;

/// Bounds of an engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Addresses of one name that are connected to; those above are not used.
    pub addresses: usize,
    /// Questions outstanding on one connection.
    pub questions: usize,
    /// A connection that is not there after this is given up: TCP, and TLS where that is used.
    pub connecting: Time,
    /// A peer that does not say its version within this is none.
    pub versioning: Time,
    /// Questions are outstanding and no byte comes for so long: the connection is lost.
    pub silence: Time,
    /// A question is outstanding for so long: the connection is lost, whatever else comes.
    pub reply: Time,
    /// From one DNS answer to the next question.
    pub refresh: Time,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            addresses: 64,
            questions: 1024,
            connecting: Time::from_secs(10),
            versioning: Time::from_secs(10),
            silence: Time::from_secs(10),
            reply: Time::from_secs(30),
            refresh: Time::from_secs(30),
        }
    }
}
