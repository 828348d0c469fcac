// SPDX-License-Identifier: CDDL-1.0
//! Properties as clients of the door are told them.
//!
//! The commands for properties are those of version 1, whose clients have no type for Ethernet addresses,
//! and die of a type that they do not know (abort(3C) in libdladm). So there an Ethernet address is a
//! string, either way; a plugin keeps its six bytes.
use crate::prop::PropInfo;
use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::props::{OVERLAY_PROP_T_ETHER, OVERLAY_PROP_T_STRING};
use std::ffi::CStr;

/// What a property is.
pub(crate) fn info(mut info: PropInfo) -> PropInfo {
    info.default = value(info.kind, info.default);
    if info.kind == OVERLAY_PROP_T_ETHER {
        info.kind = OVERLAY_PROP_T_STRING;
    }
    info
}

/// A value, or nothing, as the plugin has it.
pub(crate) fn value(kind: u32, value: Vec<u8>) -> Vec<u8> {
    match <[u8; 6]>::try_from(value.as_slice()) {
        Ok(mac) if kind == OVERLAY_PROP_T_ETHER => {
            let mut text = MacAddr(mac).to_string().into_bytes();
            text.push(0);
            text
        }
        _ => value,
    }
}

/// A value that a client sets, for the plugin. `EINVAL`: not an Ethernet address.
pub(crate) fn taken(kind: u32, value: &[u8]) -> Result<Vec<u8>, Errno> {
    // No text of an address is as short as one.
    if kind != OVERLAY_PROP_T_ETHER || value.len() == size_of::<MacAddr>() {
        return Ok(value.to_vec());
    }
    let text = CStr::from_bytes_until_nul(value).ok().and_then(|text| text.to_str().ok());
    let mac: Option<MacAddr> = text.and_then(|text| text.parse().ok());
    Ok(mac.ok_or(Errno::EINVAL)?.0.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ethernet_address_is_a_string_to_clients_and_six_bytes_to_plugins() {
        let mac = vec![2, 8, 0x20, 0, 0, 0];
        let told = info(PropInfo {
            kind: OVERLAY_PROP_T_ETHER,
            default: mac.clone(),
            ..PropInfo::default()
        });
        assert_eq!(told.kind, OVERLAY_PROP_T_STRING);
        assert_eq!(told.default, b"2:8:20:0:0:0\0");
        assert_eq!(value(OVERLAY_PROP_T_ETHER, mac.clone()), b"2:8:20:0:0:0\0");
        assert_eq!(value(OVERLAY_PROP_T_ETHER, Vec::new()), b"", "one that is not set");
        for text in [&b"2:8:20:0:0:0\0"[..], b"02:08:20:00:00:00\0", &mac] {
            assert_eq!(taken(OVERLAY_PROP_T_ETHER, text).unwrap(), mac);
        }
        for bad in [&b""[..], b"2:8:20:0:0\0", b"2:8:20:0:0:0", b"\xff\0"] {
            assert_eq!(taken(OVERLAY_PROP_T_ETHER, bad), Err(Errno::EINVAL), "{bad:?}");
        }
    }

    #[test]
    fn everything_else_is_told_and_taken_as_it_is() {
        let told = info(PropInfo { kind: 2, default: vec![7; 6], ..PropInfo::default() });
        assert_eq!((told.kind, told.default), (2, vec![7; 6]));
        assert_eq!(value(OVERLAY_PROP_T_STRING, b"12345\0".to_vec()), b"12345\0");
        assert_eq!(taken(OVERLAY_PROP_T_STRING, b"a").unwrap(), b"a");
    }
}
