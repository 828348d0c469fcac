// SPDX-License-Identifier: CDDL-1.0
//! The virtual ARP daemon as a library: instances, plugins, lookups, door server.
