// SPDX-License-Identifier: CDDL-1.0
//! The plugin around the engine: its properties, and what it does in a varpd.

use libvarpd as _; // The functions that the plugin binds to.

mod directory;
mod state;
mod varpd;
