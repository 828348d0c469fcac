// SPDX-License-Identifier: CDDL-1.0
//! What uses a VNIC as its network card.

pub mod smol;
pub mod stream;
