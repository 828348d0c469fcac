// SPDX-License-Identifier: CDDL-1.0
//! Tests of the directory server over real sockets, in this process.

mod common;
mod defects;
mod followed;
mod limits;
mod moray;
mod records;
mod replay;
mod routes;
mod told;
