// SPDX-License-Identifier: CDDL-1.0
//! Administration of data links. So far: link names and ids ([`dlmgmt`]).

pub mod dlmgmt;
