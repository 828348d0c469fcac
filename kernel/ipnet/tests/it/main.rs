// SPDX-License-Identifier: CDDL-1.0
//! The ipnet driver in a kernel that looks for every broken rule.
//!
//! The tests stand where its users do: snoop (a stream), IP (interfaces, packets), BPF (the
//! provider's table), the dev filesystem. Every test ends with a shutdown that must find nothing
//! left and no rule broken.
//!
//! The driver is linked in here. `kernel/krtld/tests/ipnet_kmod` runs the same tests on the
//! module's file: it has all of this but `modules`.
mod bpf;
mod common;
mod faults;
mod load;
mod modules;
mod stream;
mod vectors;
mod weaknesses;
mod zones;
