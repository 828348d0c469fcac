// SPDX-License-Identifier: CDDL-1.0
//! The direct lookup plugin: one destination for every frame.
