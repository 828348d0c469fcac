// SPDX-License-Identifier: CDDL-1.0
//! The illumos kernel boundary: C types and symbols, no logic.
