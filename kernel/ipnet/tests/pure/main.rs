// SPDX-License-Identifier: CDDL-1.0
//! What ipnet decides, without a kernel around it: bytes and facts in, answers out.
mod accept;
mod dlpi;
mod header;
mod ioctl;
mod table;
