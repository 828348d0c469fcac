// SPDX-License-Identifier: CDDL-1.0
//! Programs in C against the installed headers and the library.
mod client;
mod common;
mod exports;
mod plugin;
mod server;
