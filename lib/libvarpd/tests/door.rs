// SPDX-License-Identifier: CDDL-1.0
//! Door messages as bytes: lengths, commands, data models, privileges.
use door::{Model, PeerCred};
use libvarpd::message;
use overlay_abi::door::v2;
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr};
use overlay_abi::target::*;
use proptest::prelude::*;
use varpd_harness::*;
use zerocopy::FromZeros;

const MODELS: [Model; 2] = [Model::Lp64, Model::Ilp32];

fn message(command: u32, len: usize) -> Vec<u8> {
    let mut m = vec![0; len];
    put(&mut m, 0, &command.to_ne_bytes());
    m
}

fn put(m: &mut [u8], at: usize, bytes: &[u8]) {
    m[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(m: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(m[at..at + 4].try_into().unwrap())
}

fn u64_at(m: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(m[at..at + 8].try_into().unwrap())
}

fn errno(reply: &[u8]) -> Errno {
    Errno(u32_at(reply, 4) as i32)
}

fn me(model: Model) -> PeerCred {
    let uid = rustix::process::geteuid().as_raw();
    PeerCred { uid, gid: 0, pid: 1, model, net_config: false }
}

/// A user who is neither root nor the one varpd runs as.
fn stranger(model: Model) -> PeerCred {
    PeerCred { uid: 54321, gid: 54321, pid: 1, model, net_config: false }
}

#[test]
fn every_length_below_616_is_malformed() {
    let host = Host::bare();
    for model in MODELS {
        for len in 0..616 {
            for command in [1, 14] {
                let m = vec![command; len];
                let reply = host.varpd.answer(&m, &me(model));
                assert_eq!((reply.len(), u32_at(&reply, 0), errno(&reply)), (8, 0, Errno::EINVAL));
            }
        }
    }
}

#[test]
fn every_command_that_is_none_is_malformed() {
    let host = Host::bare();
    for command in [0, 15, 16, 255, 0x0100_0000, u32::MAX] {
        for len in [616, 617, 4096] {
            let reply = host.varpd.answer(&message(command, len), &me(Model::Lp64));
            assert_eq!((reply.len(), u32_at(&reply, 0), errno(&reply)), (8, 0, Errno::EINVAL));
        }
    }
}

#[test]
fn replies_have_the_length_and_command_of_the_request() {
    let host = Host::bare();
    for model in MODELS {
        for command in 1..15 {
            for len in [616, 617, 700, 3632, 65536] {
                let m = message(command, len);
                let reply = host.varpd.answer(&m, &me(model));
                assert_eq!((reply.len(), u32_at(&reply, 0)), (len, command));
                assert_eq!(errno(&reply), Errno::ENOENT, "{command}");
                assert_eq!(reply[8..], m[8..], "an error changes nothing else");
            }
        }
    }
}

#[test]
fn both_data_models_are_answered_in_their_own() {
    let host = Host::with_c_plugins(&[&[]]);
    for (n, model) in (1u32..).zip(MODELS) {
        host.kernel.add_link(n, VXLAN);
        let ilp32 = model == Model::Ilp32;
        // CREATE: id at 8 or 4, plugin at 16 or 12 behind the header.
        let (id_at, name_at) = if ilp32 { (12, 20) } else { (16, 24) };
        let mut m = message(VARPD_CLIENT_CREATE, 616);
        put(&mut m, 8, &n.to_ne_bytes());
        put(&mut m, name_at, b"test\0");
        let reply = host.varpd.answer(&m, &me(model));
        assert_eq!(errno(&reply), Errno(0), "{model:?}");
        assert_eq!(u64_at(&reply, id_at), u64::from(n));
        // Only the error and the id are written.
        let mut expected = m.clone();
        put(&mut expected, id_at, &u64::from(n).to_ne_bytes());
        assert_eq!(reply, expected);

        // SETPROP and GETPROP: size 8 bytes at 272 or 4 bytes at 268.
        let size_at = if ilp32 { 8 + 268 } else { 8 + 272 };
        let mut m = message(VARPD_CLIENT_SETPROP, 616);
        put(&mut m, 8, &u64::from(n).to_ne_bytes());
        put(&mut m, 16, &1u32.to_ne_bytes());
        put(&mut m, 20, b"value\0");
        put(&mut m, size_at, &6u32.to_ne_bytes());
        assert_eq!(errno(&host.varpd.answer(&m, &me(model))), Errno(0), "{model:?}");
        put(&mut m, 0, &VARPD_CLIENT_GETPROP.to_ne_bytes());
        put(&mut m, 20, &[0xee; 256]);
        // Behind the structure nothing is written: in ILP32 it ends at 280 with the size.
        put(&mut m, size_at, &[0xee; 4]);
        let end = if ilp32 { 280 } else { 288 };
        put(&mut m, end, &[0xee; 8]);
        let reply = host.varpd.answer(&m, &me(model));
        assert_eq!(errno(&reply), Errno(0));
        assert_eq!(&reply[20..27], b"value\0\0");
        assert_eq!(u32_at(&reply, size_at), 6);
        assert_eq!(reply[end..end + 8], [0xee; 8]);
        if !ilp32 {
            assert_eq!(u64_at(&reply, size_at), 6);
        }

        // LOOKUP has one layout.
        let mut m = message(VARPD_CLIENT_LOOKUP, 616);
        put(&mut m, 8, &n.to_ne_bytes());
        assert_eq!(u64_at(&host.varpd.answer(&m, &me(model)), 16), u64::from(n));
    }
}

#[test]
fn a_32_bit_client_is_served_through_the_door() {
    let host = Host::with_c_plugins(&[&[]]);
    host.kernel.add_link(3, VXLAN);
    let path = host.dir.path().join("varpd.door");
    let client = door::Client::open_as(path, Model::Ilp32).unwrap();
    let mut m = message(VARPD_CLIENT_CREATE, 616);
    put(&mut m, 8, &3u32.to_ne_bytes());
    put(&mut m, 20, b"test\0");
    let reply = client.call(&m).unwrap();
    assert_eq!((errno(&reply), u64_at(&reply, 12)), (Errno(0), 1));
}

/// The original handed the client's size to the plugin, which then read beyond the message.
#[test]
fn defect_34_setprop_sizes_are_checked() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    for model in MODELS {
        let ilp32 = model == Model::Ilp32;
        let size_at = if ilp32 { 8 + 268 } else { 8 + 272 };
        let set = |size: u64| {
            let mut m = message(VARPD_CLIENT_SETPROP, 616);
            put(&mut m, 8, &id.0.to_ne_bytes());
            put(&mut m, 16, &1u32.to_ne_bytes());
            match ilp32 {
                true => put(&mut m, size_at, &(size as u32).to_ne_bytes()),
                false => put(&mut m, size_at, &size.to_ne_bytes()),
            }
            errno(&host.varpd.answer(&m, &me(model)))
        };
        for size in [257, 616, 0x7fff_ffff, 0xffff_ffff] {
            assert_eq!(set(size), Errno::EINVAL, "{size}");
        }
        if !ilp32 {
            assert_eq!(set(1 << 32), Errno::EINVAL);
            assert_eq!(set(u64::MAX), Errno::EINVAL);
        }
        assert_eq!(set(256), Errno::EOVERFLOW, "the plugin takes 64");
        assert_eq!(set(64), Errno(0));
    }
}

fn walk(id: u64, marker: u64, count: u64, len: usize) -> Vec<u8> {
    let mut m = message(VARPD_CLIENT_CACHE_WALK, len);
    put(&mut m, 8, &id.to_ne_bytes());
    put(&mut m, 16, &marker.to_ne_bytes());
    put(&mut m, 24, &count.to_ne_bytes());
    m
}

/// The original wrote up to 200 entries into whatever the client had sent.
#[test]
fn defect_33_a_walk_gets_no_more_than_there_is_room_for() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test").0;
    let mut entry = overlay_targ_cache_entry_t::new_zeroed();
    for n in 0..250u8 {
        entry.otce_mac = [2, 0, 0, 0, 0, n];
        entry.otce_dest.otp_port = n.into();
        let mut state = host.kernel.state();
        state.links.get_mut(&1).unwrap().cache.insert(entry.otce_mac, entry);
    }
    let answer = |m: &[u8]| host.varpd.answer(m, &me(Model::Ilp32));
    for (count, len, found) in [
        (0, 616, Err(Errno::EINVAL)),
        (16, 616, Ok(16)),
        (17, 616, Ok(16)),
        // What the C client sends.
        (100, 3416, Ok(94)),
        (100, 32 + 3600, Ok(100)),
        (200, 32 + 7199, Ok(199)),
        (200, 32 + 7200, Ok(200)),
        (201, 65536, Err(Errno::E2BIG)),
        (u64::MAX, 65536, Err(Errno::E2BIG)),
        (0x1_0000_0001, 616, Err(Errno::E2BIG)),
    ] {
        let m = walk(id, 0, count, len);
        let reply = answer(&m);
        let error = found.err().unwrap_or(Errno(0));
        assert_eq!((reply.len(), errno(&reply)), (len, error), "{count} in {len}");
        if let Ok(found) = found {
            assert_eq!(u64_at(&reply, 24), found, "{count} in {len}");
        }
    }
    let mut seen = Vec::new();
    host.client
        .cache_walk(overlay_abi::ids::VarpdId(id), |mac, entry| {
            seen.push((mac.0[5], entry.addr().unwrap().port));
            true
        })
        .unwrap();
    assert_eq!(seen, (0..250).map(|n| (n as u8, n)).collect::<Vec<_>>());
}

#[test]
fn cache_commands_reach_the_kernel() {
    use libvarpd_client::CacheEntry;
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    let (c, mac) = (&host.client, MacAddr([2, 0, 0, 0, 0, 9]));
    let addr = "[2001:db8::9]:4789".parse::<std::net::SocketAddr>().unwrap().into();
    let entry = CacheEntry::To { mac: MacAddr([1; 6]), addr };
    c.cache_set(id, mac, &entry).unwrap();
    assert_eq!(c.cache_get(id, mac), Ok(entry));
    c.cache_set(id, mac, &CacheEntry::Drop).unwrap();
    assert_eq!(c.cache_get(id, mac), Ok(CacheEntry::Drop));
    c.cache_delete(id, mac).unwrap();
    assert_eq!(c.cache_delete(id, mac), Err(Errno::ENOENT));
    c.cache_set(id, mac, &entry).unwrap();
    c.cache_flush(id).unwrap();
    assert_eq!(c.cache_get(id, mac), Err(Errno::ENOENT));
    let mut m = message(VARPD_CLIENT_CACHE_SET, 616);
    put(&mut m, 8, &id.0.to_ne_bytes());
    put(&mut m, 30, &0xfffeu16.to_ne_bytes());
    assert_eq!(errno(&host.varpd.answer(&m, &me(Model::Lp64))), Errno::EINVAL, "unknown flags");
}

#[test]
fn changes_need_the_privilege_before_anything_else() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    for command in 1..15 {
        let changes = [
            VARPD_CLIENT_CREATE,
            VARPD_CLIENT_ACTIVATE,
            VARPD_CLIENT_DESTROY,
            VARPD_CLIENT_SETPROP,
            VARPD_CLIENT_CACHE_FLUSH,
            VARPD_CLIENT_CACHE_DELETE,
            VARPD_CLIENT_CACHE_SET,
        ]
        .contains(&command);
        for there in [id.0, 4711] {
            let mut m = message(command, 616);
            put(&mut m, 8, &there.to_ne_bytes());
            let error = errno(&host.varpd.answer(&m, &stranger(Model::Lp64)));
            assert_eq!(error == Errno::EPERM, changes, "{command}: {error}");
        }
    }
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(id), "still there");
    let root = PeerCred { net_config: true, ..stranger(Model::Lp64) };
    let mut m = message(VARPD_CLIENT_DESTROY, 616);
    put(&mut m, 8, &id.0.to_ne_bytes());
    assert_eq!(errno(&host.varpd.answer(&m, &root)), Errno(0));
}

#[test]
fn names_without_nul_end_with_their_field() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    let mut m = message(VARPD_CLIENT_CREATE, 616);
    put(&mut m, 24, &[b'x'; 64]);
    assert_eq!(errno(&host.varpd.answer(&m, &me(Model::Lp64))), Errno::ENOENT);
    put(&mut m, 24, &[0xff; 64]);
    assert_eq!(errno(&host.varpd.answer(&m, &me(Model::Lp64))), Errno::ENOENT, "not UTF-8");
    let mut m = message(VARPD_CLIENT_PROPINFO, 616);
    put(&mut m, 8, &id.0.to_ne_bytes());
    put(&mut m, 16, &u32::MAX.to_ne_bytes());
    put(&mut m, 40, &[b'x'; 64]);
    assert_eq!(errno(&host.varpd.answer(&m, &me(Model::Lp64))), Errno::ENOENT);
    put(&mut m, 40, b"test/text\0");
    let reply = host.varpd.answer(&m, &me(Model::Lp64));
    assert_eq!((errno(&reply), u32_at(&reply, 16)), (Errno(0), 1));
    assert_eq!(&reply[40..51], b"test/text\0\0", "the rest of the field is zeroed");
    assert_eq!((u32_at(&reply, 28), &reply[104..108]), (4, &b"one\0"[..]));
}

/// The original left a stale door behind when it could not make one, and the file when it ended.
#[test]
fn defect_35_the_door_comes_and_goes_with_its_server() {
    let mut host = Host::bare();
    let path = host.dir.path().join("varpd.door");
    assert!(host.varpd.serve(&path).is_err(), "there is one already");
    assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::ENOENT), "which still answers");
    let e = host.varpd.serve(&host.dir.path().join("no/such/dir")).unwrap_err();
    assert!(e.to_string().contains("no/such/dir"), "{e}");
    drop(host.door.take());
    assert!(!path.exists());
    assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::EBADF));
    let again = host.varpd.serve(&path).unwrap();
    assert!(libvarpd_client::Client::open_path(&path).is_ok());
    drop(again);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever the bytes, parsing ends in a request or an error, and an answer fits.
    #[test]
    fn any_bytes_parse_or_are_refused(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..1400),
        command in prop_oneof![0u32..17, 0x1000u32..0x1011],
        ilp32 in any::<bool>(),
        count in 0u64..300,
    ) {
        let model = MODELS[usize::from(ilp32)];
        if bytes.len() >= 32 {
            put(&mut bytes, 0, &command.to_ne_bytes());
            if command == VARPD_CLIENT_CACHE_WALK {
                put(&mut bytes, 24, &count.to_ne_bytes());
            }
            if command == v2::VARPD_CLIENT_ROUTE_WALK {
                put(&mut bytes, 16, &count.to_ne_bytes());
            }
        }
        let parsed = message::parse(&bytes, model);
        let well_formed =
            bytes.len() >= 616 && matches!(u32_at(&bytes, 0), 1..15 | 0x1000 | 0x100b..=0x100f);
        prop_assert_eq!(parsed.is_ok(), well_formed);
        if let Ok(Ok(message::Request::RouteWalk(_, _, n))) = parsed {
            prop_assert!(72 + 88 * usize::from(n) <= bytes.len());
        }
        if let Ok(Ok(message::Request::CacheWalkV2(_, _, n))) = parsed {
            prop_assert!(40 + 40 * usize::from(n) <= bytes.len());
        }
        if let Ok(Ok(message::Request::CacheWalk(_, _, n))) = parsed {
            prop_assert!(32 + 36 * usize::from(n) <= bytes.len());
        }
        for answer in [
            message::Answer::Done,
            message::Answer::Id(overlay_abi::ids::VarpdId(7)),
            message::Answer::Nprops(3),
            message::Answer::PropInfo(1, Box::default()),
            message::Answer::Value(vec![1; 256]),
            message::Answer::TargetMode(6, 2),
            message::Answer::Entry(varpd_client_cache_entry_t::new_zeroed()),
            message::Answer::Entries(1, vec![overlay_targ_cache_entry_t::new_zeroed(); 200]),
            message::Answer::EntryV2(varpd_client_cache_entry_t::new_zeroed()),
            message::Answer::EntriesV2([1, 0], vec![FromZeros::new_zeroed(); 200]),
            message::Answer::Routes(
                message::RoutePlace { vlan: 7, marker: FromZeros::new_zeroed(), state: 1 },
                vec![FromZeros::new_zeroed(); 200],
            ),
        ] {
            prop_assert_eq!(message::reply(&bytes, model, &Ok(answer)).len(), bytes.len());
        }
    }
}

/// Where the kernel speaks version 1 only, the routed commands say so, and ask for the privilege and the
/// instance first.
#[test]
fn routed_commands_on_a_kernel_without_routes() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    for model in MODELS {
        for command in v2::VARPD_CLIENT_CACHE_DELETE_V2..=v2::VARPD_CLIENT_ROUTE_WALK {
            let mut m = message(command, 616);
            let answer = |m: &[u8], who| errno(&host.varpd.answer(m, &who));
            let changes = command == v2::VARPD_CLIENT_CACHE_DELETE_V2
                || command == v2::VARPD_CLIENT_CACHE_SET_V2;
            let refused = if changes { Errno::EPERM } else { Errno::ENOENT };
            assert_eq!(answer(&m, stranger(model)), refused, "{command:#x}");
            assert_eq!(answer(&m, me(model)), Errno::ENOENT, "{command:#x}");
            put(&mut m, 8, &id.0.to_ne_bytes());
            assert_eq!(answer(&m, me(model)), Errno::ENOTSUP, "{command:#x}");
            put(&mut m, 16, &201u64.to_ne_bytes());
            let walk = command == v2::VARPD_CLIENT_ROUTE_WALK;
            let expected = if walk { Errno::E2BIG } else { Errno::ENOTSUP };
            assert_eq!(answer(&m, me(model)), expected, "{command:#x}");
        }
    }
}

/// Everything wrong that can come through the door, and the next caller is served all the same.
#[test]
fn hostile_callers_do_not_disturb_others() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    let path = host.dir.path().join("varpd.door");
    let open = |model| door::Client::open_as(&path, model).unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for model in MODELS {
        let client = open(model);
        for len in 0..=700 {
            // Zeros, noise, and noise that looks like a command.
            let noise: Vec<u8> = (0..len).map(|_| (random() >> 24) as u8).collect();
            let mut command = noise.clone();
            if len >= 4 {
                put(&mut command, 0, &((random() % 16) as u32).to_ne_bytes());
            }
            for m in [vec![0; len], noise, command] {
                let reply = client.call(&m).unwrap();
                assert!(reply.len() == 8 || reply.len() == len, "{len}: {}", reply.len());
            }
        }
    }
    // A client that says it is of the other model reads nonsense, and that is all.
    let mut m = message(VARPD_CLIENT_CREATE, 616);
    put(&mut m, 8, &2u32.to_ne_bytes());
    put(&mut m, 24, b"test\0");
    host.kernel.add_link(2, VXLAN);
    assert_eq!(errno(&open(Model::Ilp32).call(&m).unwrap()), Errno::ENOENT);
    let _silent: Vec<_> =
        (0..3000).map(|_| door::sock::connect(&path, rustix::net::SocketType::SEQPACKET)).collect();
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(id));
    let another = libvarpd_client::Client::open_path(&path).unwrap();
    assert_eq!(another.instance_lookup(LinkId(1)), Ok(id));
}

#[test]
fn changes_are_logged_with_instance_and_link() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(7, "test");
    host.client.instance_activate(id).unwrap();
    assert_eq!(host.client.instance_activate(id), Err(Errno::EEXIST));
    host.client.instance_destroy(id).unwrap();
    let mut m = message(VARPD_CLIENT_DESTROY, 616);
    put(&mut m, 8, &id.0.to_ne_bytes());
    host.varpd.answer(&m, &stranger(Model::Lp64));
    let log = host.log.text();
    for done in ["instance created", "instance activated", "instance destroyed"] {
        let line = log.lines().find(|l| l.contains(done)).unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("instance=1") && line.contains("link=7"), "{line}");
    }
    let line = log.lines().find(|l| l.contains("not done: instance activated")).unwrap();
    assert!(line.contains("EEXIST") && line.contains("link=7"), "{line}");
    let line = log.lines().find(|l| l.contains("without privilege")).unwrap();
    assert!(line.contains("uid=54321"), "{line}");
}
