// SPDX-License-Identifier: CDDL-1.0
//! The overlay GLDv3 driver.
