// SPDX-License-Identifier: CDDL-1.0
//! Doors: native on illumos, a SOCK_SEQPACKET socket elsewhere.
