// SPDX-License-Identifier: CDDL-1.0
//! Tests of the engine.

use libvarpd as _; // The functions that the plugin around the engine binds to.

mod health;
mod hostile;
mod log;
mod lookups;
mod pool;
mod recorded;
mod rig;
mod routes;
mod streams;
