// SPDX-License-Identifier: CDDL-1.0
//! Client of a fakekerneld's control socket.
