// SPDX-License-Identifier: CDDL-1.0
//! A userland implementation of the illumos kernel interfaces the drivers import.
