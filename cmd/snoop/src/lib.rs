// SPDX-License-Identifier: CDDL-1.0
//! Watches packets, of IP interfaces, links, underlays and files, with snoop's options and words.
//!
//! ```text
//!   source ──► source::Feed ──► decode ──► filter ──► show ──► standard output
//!   source ──►      │          (layers)               file ──► -o FILE
//!   (a thread each) └─ stop, counts                   flows ─► a table at the end
//! ```
//!
//! # Vocabulary
//!
//! * *source*: an interface or a file; packets of several are shown together.
//! * *layer*: one header of a packet and what it says ([`decode::Layer`]). All that is shown, and all
//!   that a filter asks, is asked of layers.
//! * *bare*, *wrapped*: a guest's packet as its VNIC sees it, and in VXLAN.
//!
//! # Invariants
//!
//! * Decoders and file formats are functions of bytes, total on any: the fuzz target `snoop` runs them.
//! * What is remembered is bounded, however long a capture runs: TCP streams of SVP, flows, packets
//!   between a source and this thread.
//! * Nothing is asked of the network: names come from the hosts file.

mod cli;
pub mod decode;
pub mod field;
pub mod file;
pub mod filter;
pub mod flows;
pub mod names;
pub mod packet;
pub mod record;
mod run;
pub mod show;
pub mod source;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

/// The whole program; `args` start with its name. A library function, so that the lab holds this
/// program too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match cli::Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version come this way too.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    match run::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has enough.
        Err(e) if e.is_broken_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("snoop: {e}");
            ExitCode::FAILURE
        }
    }
}
