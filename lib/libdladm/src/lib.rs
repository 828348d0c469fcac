// SPDX-License-Identifier: CDDL-1.0
//! Administration of overlay links and VNICs.
