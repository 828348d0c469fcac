// SPDX-License-Identifier: CDDL-1.0
//! The integration tests of the ipnet driver, on the bytes that are shipped: the module file that
//! `cargo xtask kmod` makes, loaded. Nothing else differs, and neither may a result.
//!
//! Where the file is not, every test is skipped.
mod modules;

#[path = "../../../ipnet/tests/it/bpf.rs"]
mod bpf;
#[path = "../../../ipnet/tests/it/common.rs"]
mod common;
#[path = "../../../ipnet/tests/it/faults.rs"]
mod faults;
#[path = "../../../ipnet/tests/it/load.rs"]
mod load;
#[path = "../../../ipnet/tests/it/stream.rs"]
mod stream;
#[path = "../../../ipnet/tests/it/vectors.rs"]
mod vectors;
#[path = "../../../ipnet/tests/it/weaknesses.rs"]
mod weaknesses;
#[path = "../../../ipnet/tests/it/zones.rs"]
mod zones;
