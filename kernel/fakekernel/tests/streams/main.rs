// SPDX-License-Identifier: CDDL-1.0
//! Streams: each rule by a driver that keeps it, and by one that does not.
mod driver;
mod flow;
mod ioctls;
mod rules;
