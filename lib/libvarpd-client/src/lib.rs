// SPDX-License-Identifier: CDDL-1.0
//! Client of varpd's door.
