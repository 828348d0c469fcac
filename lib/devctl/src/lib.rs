// SPDX-License-Identifier: CDDL-1.0
//! open, ioctl and close of illumos device nodes, native or through fakekerneld.
