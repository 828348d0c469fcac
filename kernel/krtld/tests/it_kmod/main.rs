// SPDX-License-Identifier: CDDL-1.0
//! The integration tests of the overlay driver, on the bytes that are shipped: the module files
//! that `cargo xtask kmod` makes, loaded. Nothing else differs, and neither may a result.
//!
//! Where the files are not, every test is skipped.
mod modules;

#[path = "../../../overlay/tests/it/common.rs"]
mod common;
#[path = "../../../overlay/tests/it/defects.rs"]
mod defects;
#[path = "../../../overlay/tests/it/dynamic.rs"]
mod dynamic;
#[path = "../../../overlay/tests/it/faults.rs"]
mod faults;
#[path = "../../../overlay/tests/it/hostile.rs"]
mod hostile;
#[path = "../../../overlay/tests/it/ioctls.rs"]
mod ioctls;
#[path = "../../../overlay/tests/it/point.rs"]
mod point;
#[path = "../../../overlay/tests/it/routed.rs"]
mod routed;
#[path = "../../../overlay/tests/it/routes.rs"]
mod routes;
#[path = "../../../overlay/tests/it/soak.rs"]
mod soak;
#[path = "../../../overlay/tests/it/tcap.rs"]
mod tcap;
