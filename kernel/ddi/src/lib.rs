// SPDX-License-Identifier: CDDL-1.0
//! Safe owners over the illumos kernel interfaces.
