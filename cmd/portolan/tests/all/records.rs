// SPDX-License-Identifier: CDDL-1.0
//! Records of the store: any bytes are a record or an error, and a record reads as it was written.

use portolan::net::{Mac, Subnet};
use portolan::record::{Event, LogRecord, Route, Write};
use portolan::store::Table;
use proptest::prelude::*;
use svp::{MacAddr, Uuid};

fn subnet() -> impl Strategy<Value = Subnet> {
    (any::<u128>(), 0..=128u8).prop_map(|(ip, prefix)| Subnet::from_v6(ip.into(), prefix))
}

fn route() -> impl Strategy<Value = Route> {
    let from = (any::<u32>(), any::<u16>(), subnet());
    let to = (any::<u32>(), any::<u16>(), subnet(), any::<u32>(), any::<[u8; 6]>());
    let rest = (any::<Option<u128>>(), any::<bool>(), any::<u64>());
    (from, to, rest).prop_map(|((vnet, vlan, subnet), to, (name, deleted, modified))| {
        let (r_vnet, r_vlan, r_subnet, r_dcid, mac) = to;
        let r_send_mac = Mac(MacAddr(mac));
        let net_uuid = name.map(Uuid::from_u128);
        Route {
            vnet,
            vlan,
            subnet,
            r_subnet,
            r_dcid,
            r_vnet,
            r_vlan,
            r_send_mac,
            net_uuid,
            r_net_uuid: None,
            deleted,
            modified,
        }
    })
}

fn write() -> impl Strategy<Value = Write> {
    (route(), any::<bool>(), any::<u64>()).prop_map(|(route, is_log, seq)| {
        if !is_log {
            return Write::Route(route.key(), Some(route));
        }
        let (host, id) = (Uuid::from_u128(seq.into()), Uuid::from_u128(1));
        let event = Event::Route {
            src_vnet: route.vnet,
            dst_vnet: route.r_vnet,
            dcid: route.r_dcid,
            src: route.subnet,
            dst: route.r_subnet,
            src_vlan: route.vlan,
            dst_vlan: route.r_vlan,
        };
        Write::Log(host, seq, Some(LogRecord { host, seq, id, event }))
    })
}

proptest! {
    #[test]
    fn a_record_reads_as_it_was_written_and_damaged_ones_do_no_harm(
        write in write(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let kv = write.to_kv();
        let value = kv.value.expect("put");
        let read = |key: &[u8], value: &[u8]| Write::from_record(kv.table, key, value);
        prop_assert_eq!(read(&kv.key, &value).expect("ours"), write);
        prop_assert!(read(&kv.key, &value[..cut.index(value.len())]).is_err());
        let mut damaged = value.clone();
        damaged[at.index(value.len())] ^= 1 << bit;
        if let Ok(other) = read(&kv.key, &damaged) {
            prop_assert_eq!(other.to_kv().key, &kv.key[..], "it lies where it belongs");
        }
        let mut elsewhere = kv.key.clone();
        elsewhere[at.index(kv.key.len())] ^= 1 << bit;
        prop_assert!(read(&elsewhere, &value).is_err());
    }

    #[test]
    fn any_bytes_are_a_record_or_none(
        key in prop::collection::vec(any::<u8>(), 0..48),
        value in prop::collection::vec(any::<u8>(), 0..96),
    ) {
        for table in Table::ALL {
            if let Ok(write) = Write::from_record(table, &key, &value) {
                prop_assert_eq!(write.to_kv().key, key.clone());
            }
        }
    }

    /// As text, in JSON, and over the wire.
    #[test]
    fn a_subnet_reads_as_it_was_written(subnet in subnet()) {
        prop_assert_eq!(subnet.to_string().parse(), Ok(subnet));
        prop_assert_eq!(Subnet::from_v6(subnet.address(), subnet.prefix_v6()), subnet);
    }
}
