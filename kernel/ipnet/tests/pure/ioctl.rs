// SPDX-License-Identifier: CDDL-1.0
//! The ioctls (spec/ipnet.md 2.5).
use ipnet::dlpi::Front;
use ipnet::ioctl::*;

#[test]
fn raw_is_granted_in_any_form() {
    for count in [0, 4, 100, TRANSPARENT] {
        assert_eq!(request(DLIOCRAW, count), Request::Ack);
    }
}

#[test]
fn info_is_for_plain_ioctls_only() {
    assert_eq!(request(DLIOCIPNETINFO, TRANSPARENT), Request::CopyIn);
    for count in [0, 4, usize::MAX] {
        assert_eq!(request(DLIOCIPNETINFO, count), Request::Nak);
    }
}

#[test]
fn nothing_else_is_known() {
    for cmd in [0, -1, 0x4402, 0x4403, 0x4405, i32::MIN] {
        assert_eq!(request(cmd, TRANSPARENT), Request::Nak);
        assert_eq!(argument(cmd, &1i32.to_ne_bytes()), None);
    }
}

#[test]
fn info_is_one_of_three_or_nonsense() {
    for (value, front, returned) in
        [(0i32, Front::Nothing, 1), (1, Front::Header, 1), (2, Front::Stamp, 2)]
    {
        assert_eq!(argument(DLIOCIPNETINFO, &value.to_ne_bytes()), Some((front, returned)));
    }
    for value in [3, -1, i32::MIN, 0x0100_0000] {
        assert_eq!(argument(DLIOCIPNETINFO, &value.to_ne_bytes()), None);
    }
}

#[test]
fn w01_an_argument_that_is_too_short_is_refused() {
    for len in 0..4 {
        assert_eq!(argument(DLIOCIPNETINFO, &[1, 0, 0, 0][..len]), None);
    }
}
