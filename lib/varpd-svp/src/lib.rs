// SPDX-License-Identifier: CDDL-1.0
//! The svp lookup plugin: asks a directory where a guest is, and is told when that changes.

pub mod engine;
