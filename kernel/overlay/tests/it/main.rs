// SPDX-License-Identifier: CDDL-1.0
//! The overlay driver with its VXLAN plugin in a kernel that looks for every broken rule.
//!
//! The tests stand where its users do: dladm (dld ioctls), varpd (`/dev/overlay`), a guest (a
//! VNIC's client) and the far host (a UDP socket). Every test ends with a shutdown that must find
//! nothing left and no rule broken.
//!
//! The driver is linked in here. `kernel/krtld/tests/it_kmod` runs the same tests on the modules'
//! files: it has all of this but `modules`.
mod common;
mod defects;
mod dynamic;
mod faults;
mod hostile;
mod ioctls;
mod modules;
mod point;
mod routed;
mod routes;
mod soak;
mod tcap;
