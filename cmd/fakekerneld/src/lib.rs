// SPDX-License-Identifier: CDDL-1.0
//! fakekerneld.
pub mod guest;
