// SPDX-License-Identifier: CDDL-1.0
//! Tests of the codec and of both sides of a connection.

mod client;
mod common;
mod random;
mod vectors;
