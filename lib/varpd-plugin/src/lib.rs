// SPDX-License-Identifier: CDDL-1.0
//! What the author of a varpd lookup plugin writes against.
