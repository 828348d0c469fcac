// SPDX-License-Identifier: CDDL-1.0
//! The network half of the kernel, through its C symbols and its clients.
mod ksocket;
mod mac;
mod offload;
mod provider;
