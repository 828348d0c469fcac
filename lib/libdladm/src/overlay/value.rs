// SPDX-License-Identifier: CDDL-1.0
//! Property values: text to bytes and back. The bytes are those of `overlay_abi::props`.

use super::dest::parse_ip;
use crate::Status;
use overlay_abi::ids::{self, MacAddr};
use overlay_abi::props::*;

/// What stands for a value that is not set.
const UNSET: &str = "--";
/// What stands for bytes that are not what they should be.
const MALFORMED: &str = "?";

/// The bytes of `text` as a property of that type.
///
/// Numbers are decimal and take the whole text; INT may have a `-` in front. An IP address is tried
/// as IPv6 first. An Ethernet address has six groups. [`Status::BadArg`] for anything else.
pub fn parse(kind: u32, text: &str) -> Result<Vec<u8>, Status> {
    let bytes = match kind {
        OVERLAY_PROP_T_INT => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            decimal(digits)?;
            text.parse::<i64>().map_err(|_| Status::BadArg)?.to_ne_bytes().to_vec()
        }
        OVERLAY_PROP_T_UINT => {
            decimal(text)?;
            text.parse::<u64>().map_err(|_| Status::BadArg)?.to_ne_bytes().to_vec()
        }
        OVERLAY_PROP_T_IP => parse_ip(text).ok_or(Status::BadArg)?.octets().to_vec(),
        OVERLAY_PROP_T_STRING if text.len() < OVERLAY_PROP_SIZEMAX && !text.contains('\0') => {
            [text.as_bytes(), &[0]].concat()
        }
        OVERLAY_PROP_T_ETHER => text.parse::<MacAddr>().map_err(|_| Status::BadArg)?.0.to_vec(),
        _ => return Err(Status::BadArg),
    };
    Ok(bytes)
}

fn decimal(text: &str) -> Result<(), Status> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { Ok(()) } else { Err(Status::BadArg) }
}

/// A value as it is shown: `--` for none, `?` for bytes that do not fit the type.
pub fn format(kind: u32, value: &[u8]) -> String {
    if value.is_empty() {
        return UNSET.to_owned();
    }
    let text = match kind {
        OVERLAY_PROP_T_INT => int(value).map(|n| n.to_string()),
        OVERLAY_PROP_T_UINT => uint(value).map(|n| n.to_string()),
        OVERLAY_PROP_T_IP => ip(value).map(|ip| ids::unmapped(ip).to_string()),
        // The driver of illumos gives `encap` without its NUL.
        OVERLAY_PROP_T_STRING => Some(crate::c_text(value)),
        OVERLAY_PROP_T_ETHER => value.try_into().ok().map(|mac| MacAddr(mac).to_string()),
        _ => None,
    };
    text.unwrap_or_else(|| MALFORMED.to_owned())
}

/// The possible values as they are shown: `min-max` or texts, joined by commas.
pub fn format_possible(blob: &[u8]) -> String {
    match parse_possible(blob) {
        Ok(Values::Any) => UNSET.to_owned(),
        Ok(Values::Ranges(ranges)) => {
            let range =
                |(min, max)| if min == max { format!("{min}") } else { format!("{min}-{max}") };
            ranges.map(range).collect::<Vec<_>>().join(",")
        }
        Ok(Values::Texts(texts)) => texts.collect::<Vec<_>>().join(","),
        Ok(Values::Unknown) | Err(_) => MALFORMED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defect_48_numbers_are_64_bits_and_take_the_whole_text() {
        for n in [0, 1, u64::from(u32::MAX) + 1, i64::MAX as u64 + 1, u64::MAX] {
            let bytes = parse(OVERLAY_PROP_T_UINT, &n.to_string()).unwrap();
            assert_eq!(bytes, n.to_ne_bytes());
            assert_eq!(format(OVERLAY_PROP_T_UINT, &bytes), n.to_string());
        }
        for n in [i64::MIN, -1, 0, i64::MAX] {
            let bytes = parse(OVERLAY_PROP_T_INT, &n.to_string()).unwrap();
            assert_eq!(format(OVERLAY_PROP_T_INT, &bytes), n.to_string());
        }
        for bad in ["", " 1", "1 ", "1x", "+1", "-1", "0x10", "18446744073709551616"] {
            assert_eq!(parse(OVERLAY_PROP_T_UINT, bad), Err(Status::BadArg), "{bad:?}");
        }
        for bad in ["", "-", "--1", "+1", "1-", "9223372036854775808", "-9223372036854775809"] {
            assert_eq!(parse(OVERLAY_PROP_T_INT, bad), Err(Status::BadArg), "{bad:?}");
        }
    }

    #[test]
    fn defect_48_long_possible_strings_do_not_overlap() {
        let (a, b) = ("a".repeat(100), "b".repeat(100));
        let mut poss = Possible::default();
        poss.add_str(a.as_bytes());
        poss.add_str(b.as_bytes());
        assert_eq!(format_possible(poss.bytes()), format!("{a},{b}"));
    }

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::", "::"),
        ] {
            let bytes = parse(OVERLAY_PROP_T_IP, text).unwrap();
            assert_eq!(bytes.len(), 16);
            assert_eq!(format(OVERLAY_PROP_T_IP, &bytes), shown);
        }
        for bad in ["", "192.0.2", "host", "192.0.2.1/24", "fe80::1%net0"] {
            assert_eq!(parse(OVERLAY_PROP_T_IP, bad), Err(Status::BadArg), "{bad}");
        }
    }

    #[test]
    fn strings_hold_255_characters() {
        let bytes = parse(OVERLAY_PROP_T_STRING, &"x".repeat(255)).unwrap();
        assert_eq!((bytes.len(), bytes.last()), (256, Some(&0)));
        assert_eq!(parse(OVERLAY_PROP_T_STRING, &"x".repeat(256)), Err(Status::BadArg));
        assert_eq!(format(OVERLAY_PROP_T_STRING, b"vxlan"), "vxlan");
        assert_eq!(format(OVERLAY_PROP_T_STRING, b"vxlan\0"), "vxlan");
    }

    #[test]
    fn odd_sizes() {
        assert_eq!(format(OVERLAY_PROP_T_UINT, &[1, 2, 3]), "?");
        assert_eq!(format(OVERLAY_PROP_T_IP, &[0; 4]), "?");
        assert_eq!(format(99, &[1]), "?");
        assert_eq!(format(OVERLAY_PROP_T_UINT, &[]), "--");
        assert_eq!(format(OVERLAY_PROP_T_UINT, &4789u16.to_ne_bytes()), "4789");
        assert_eq!(format(OVERLAY_PROP_T_ETHER, &[0; 5]), "?");
        assert_eq!(parse(6, "2:8:20:0:0:1"), Err(Status::BadArg));
    }

    #[test]
    fn s8_7_ethernet_addresses() {
        let bytes = parse(OVERLAY_PROP_T_ETHER, "02:08:20:AA:0:1").unwrap();
        assert_eq!(bytes, [2, 8, 0x20, 0xaa, 0, 1]);
        assert_eq!(format(OVERLAY_PROP_T_ETHER, &bytes), "2:8:20:aa:0:1");
        for bad in ["", "2:8:20:aa:0", "2:8:20:aa:0:1:2", "2:8:20:aa:0:x", "2:8:20:aa:0:100"] {
            assert_eq!(parse(OVERLAY_PROP_T_ETHER, bad), Err(Status::BadArg), "{bad}");
        }
    }

    #[test]
    fn possible() {
        let mut poss = Possible::default();
        assert_eq!(format_possible(poss.bytes()), "--");
        poss.add_range(576, 8900);
        poss.add_range(9000, 9000);
        assert_eq!(format_possible(poss.bytes()), "576-8900,9000");
        let mut unknown = [0; 256];
        unknown[0..4].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(format_possible(&unknown), "?", "type UINT8");
        unknown[4..8].copy_from_slice(&2u32.to_ne_bytes());
        unknown[8..12].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(format_possible(&unknown), "?", "says more than there is");
    }
}
