// SPDX-License-Identifier: CDDL-1.0
//! Ioctl numbers, structure layouts and door messages of illumos overlay networks.
