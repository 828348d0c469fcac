// SPDX-License-Identifier: CDDL-1.0
//! The network half of the fake kernel: mac, dls, dld, VNICs and kernel sockets.

/// Called by boot, before any module loads.
pub fn boot(_txpool: usize) {}

/// Called by shutdown after the last module is gone: stops the receive threads and frees what they hold.
pub fn shutdown() {}

/// What the network half exports.
pub(crate) const SYMBOLS: &[crate::symbols::Symbol] = &[];
