// SPDX-License-Identifier: CDDL-1.0
//! The VXLAN encapsulation plugin of the overlay driver.
