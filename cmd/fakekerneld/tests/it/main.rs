// SPDX-License-Identifier: CDDL-1.0
//! Tests of fakekerneld: its guests alone, and the whole process from outside.

mod command;
mod common;
mod daemon;
mod ipnet;
mod modules;
mod smol;
mod tap;
mod traffic;
