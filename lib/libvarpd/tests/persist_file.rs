// SPDX-License-Identifier: CDDL-1.0
//! The bytes of a file, and what is left of it when its writer dies.
use libvarpd::persist::{Broken, Fault, Record, Step, Store, decode, encode, file_name, id_of};
use md5::Digest;
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use proptest::prelude::*;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

const ID: VarpdId = VarpdId(7);

fn record() -> Record {
    let mut inner = List::new();
    inner.add(c"uuid".into(), Value::String(c"b1bb".into()));
    let mut private = List::new();
    private.add(c"files/config".into(), Value::String(c"/var/run/config.json".into()));
    private.add(c"ports".into(), Value::Uint16Array(vec![1, 2, 3]));
    private.add(c"more".into(), Value::List(Box::new(inner)));
    let (dest, mode, plugin) = (6, 2, "files".to_owned());
    Record { id: ID, link: LinkId(12), dest, mode, plugin, private }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = encode(&record()).unwrap();
    assert_eq!(decode(&bytes), Ok(record()));
    for n in 0..bytes.len() {
        let broken = decode(&bytes[..n]).unwrap_err();
        let short = n <= 24;
        assert_eq!(broken, if short { Broken::Short } else { Broken::Sum }, "{n} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(decode(&longer), Err(Broken::Sum));
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = encode(&record()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let broken = decode(&bytes).unwrap_err();
        match bit / 8 {
            0..4 => assert_eq!(broken, Broken::Magic),
            4..8 => assert!(matches!(broken, Broken::Version(_)), "{broken:?}"),
            _ => assert_eq!(broken, Broken::Sum),
        }
    }
}

/// With a right MD5, as somebody makes it who means harm.
fn signed(payload: &[u8]) -> Vec<u8> {
    let whole = encode(&record()).unwrap();
    let sum: [u8; 16] = md5::Md5::digest(payload).into();
    [&whole[..8], &sum, payload].concat()
}

#[test]
fn every_flipped_bit_with_a_right_sum_is_refused_or_another_record() {
    let bytes = encode(&record()).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for bit in 24 * 8..bytes.len() * 8 {
        let mut payload = bytes[24..].to_vec();
        payload[bit / 8 - 24] ^= 1 << (bit % 8);
        match decode(&signed(&payload)) {
            Ok(record) => {
                accepted += 1;
                assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
            }
            Err(Broken::List(_) | Broken::Key(_)) => refused += 1,
            Err(e) => panic!("{e}"),
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} {refused}");
    for n in 0..bytes.len() - 24 {
        assert!(decode(&signed(&bytes[24..24 + n])).is_err(), "{n} bytes");
    }
}

#[test]
fn keys_that_are_missing_or_wrong() {
    let payload = |change: &dyn Fn(&mut List)| {
        let mut list = List::unpack(&encode(&record()).unwrap()[24..]).unwrap();
        change(&mut list);
        decode(&signed(&list.pack(nvpair::Encoding::Xdr).unwrap()))
    };
    assert_eq!(payload(&|_| {}), Ok(record()));
    for key in ["vri_id", "vri_linkid", "vri_dest", "vri_mode", "vri_plugin", "vri_private"] {
        let name = std::ffi::CString::new(key).unwrap();
        let missing = payload(&|l| assert!(l.remove_all(&name)));
        assert_eq!(missing, Err(Broken::Key(key)));
        let other_type = payload(&|l| l.add(name.clone(), Value::Int32(1)));
        assert_eq!(other_type, Err(Broken::Key(key)));
    }
    for id in [0, i32::MAX as u64, u64::MAX] {
        let wrong = payload(&|l| l.add(c"vri_id".into(), Value::Uint64(id)));
        assert_eq!(wrong, Err(Broken::Key("vri_id")), "{id}");
    }
    let no_text = payload(&|l| l.add(c"vri_plugin".into(), Value::String(c"\xff".into())));
    assert_eq!(no_text, Err(Broken::Key("vri_plugin")));
    // A later varpd may say more.
    assert_eq!(payload(&|l| l.add(c"vri_more".into(), Value::Boolean)), Ok(record()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        id in 1..i32::MAX as u64, link: u32, dest: u32, mode: u32, plugin in "[a-zé]{1,20}",
        text in "[^\\x00]{0,30}",
    ) {
        let mut private = List::new();
        private.add(c"text".into(), Value::String(std::ffi::CString::new(text).unwrap()));
        let record = Record { id: VarpdId(id), link: LinkId(link), dest, mode, plugin, private };
        let bytes = encode(&record).unwrap();
        prop_assert_eq!(decode(&bytes), Ok(record));
    }

    #[test]
    fn anything_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode(&signed(&bytes)).is_err());
    }

    #[test]
    fn names(name in "[.0-9a-z+-]{0,12}(\\.varpd)?") {
        if let Some(id) = id_of(&name) {
            let digits = name.strip_suffix(".varpd").unwrap();
            prop_assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
            prop_assert_eq!(id_of(&file_name(VarpdId(id))), Some(id));
        }
    }
}

/// Old and new contents, of more than one write each.
fn contents() -> (Vec<u8>, Vec<u8>) {
    let of = |byte: u8| {
        let mut record = record();
        record.private.add(c"much".into(), Value::ByteArray(vec![byte; 9000]));
        encode(&record).unwrap()
    };
    (of(b'o'), of(b'n'))
}

/// What is in a directory: the instance's file, and how many others there are.
fn what_is_left(dir: &Path) -> (Option<Vec<u8>>, usize) {
    let file = fs::read(dir.join(file_name(ID))).ok();
    let others = fs::read_dir(dir).unwrap().count() - usize::from(file.is_some());
    (file, others)
}

/// Calls `f` with a fault that counts steps and has `happen` at the `n`-th.
fn at_step(
    n: usize,
    happen: impl Fn() -> io::Error + Send + Sync + 'static,
) -> (Fault, std::sync::Arc<AtomicUsize>) {
    let steps = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&steps);
    let fault = move |step| {
        let this = count.fetch_add(1, Ordering::SeqCst) == n;
        if this && step != Step::Done { Err(happen()) } else { Ok(()) }
    };
    (Box::new(fault), steps)
}

#[test]
fn an_error_at_every_step_leaves_the_old_file_or_the_new_one() {
    let (old, new) = contents();
    let mut outcomes = Vec::new();
    for with_old in [true, false] {
        for n in 0.. {
            let dir = tempfile::tempdir().unwrap();
            if with_old {
                Store::open(dir.path(), None).unwrap().write(ID, &old).unwrap();
            }
            let error = || io::Error::from_raw_os_error(Errno::ENOSPC.to_host());
            let (fault, steps) = at_step(n, error);
            let result = Store::open(dir.path(), Some(fault)).unwrap().write(ID, &new);
            let (file, others) = what_is_left(dir.path());
            assert_eq!(others, 0, "step {n}");
            assert!(file == Some(new.clone()) || file == with_old.then(|| old.clone()), "step {n}");
            outcomes.push((result.is_ok(), file == Some(new.clone())));
            if result.is_ok() {
                assert!(steps.load(Ordering::SeqCst) >= 9, "{steps:?}");
                break;
            }
        }
    }
    // Of both kinds: steps before the rename and after it.
    assert!(outcomes.contains(&(false, false)) && outcomes.contains(&(false, true)));
}

const DIR: &str = "PERSIST_TEST_DIR";
const STEP: &str = "PERSIST_TEST_STEP";

/// The process that is killed; does nothing when it runs as a test.
#[test]
fn child_that_dies_while_it_writes() {
    let (Ok(dir), Ok(step)) = (std::env::var(DIR), std::env::var(STEP)) else { return };
    let step: usize = step.parse().unwrap();
    let steps = AtomicUsize::new(0);
    let fault = move |_| {
        if steps.fetch_add(1, Ordering::SeqCst) == step {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
        }
        Ok(())
    };
    let store = Store::open(Path::new(&dir), Some(Box::new(fault))).unwrap();
    store.write(ID, &contents().1).unwrap();
}

#[test]
fn a_writer_killed_at_every_step_leaves_the_old_file_or_the_new_one() {
    let (old, new) = contents();
    for with_old in [true, false] {
        let mut killed_with = [0, 0];
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            if with_old {
                Store::open(dir.path(), None).unwrap().write(ID, &old).unwrap();
            }
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child_that_dies_while_it_writes"])
                .env(DIR, dir.path())
                .env(STEP, step.to_string())
                .output()
                .unwrap();
            let (file, others) = what_is_left(dir.path());
            let is_new = file.as_ref() == Some(&new);
            assert!(is_new || file == with_old.then(|| old.clone()), "step {step}: {file:?}");
            assert!(others <= 1, "step {step}");
            if child.status.success() {
                assert!(is_new && others == 0);
                break;
            }
            assert_eq!(child.status.signal(), Some(9), "{child:?}");
            killed_with[usize::from(is_new)] += 1;
        }
        assert!(killed_with[0] >= 6 && killed_with[1] >= 3, "{killed_with:?}");
    }
}
