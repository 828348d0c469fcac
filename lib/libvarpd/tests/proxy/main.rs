// SPDX-License-Identifier: CDDL-1.0
//! The proxies as functions from bytes to bytes, and between a plugin in C and a kernel (`edge`).
//! Frames are made, and answers are checked, by smoltcp, which shares no code with them.

mod arp;
mod dhcp;
mod edge;
mod hostile;
mod ndp;
