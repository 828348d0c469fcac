// SPDX-License-Identifier: CDDL-1.0
//! Programs and a small driver of the tests' own, over the real sockets.

use std::collections::HashSet;
use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use devctl::server::{Fault, Handle, Kernel, Server, UserMem};
use devctl::{Device, MAX_COPY, Model, OpenFlags, PeerCred, Root};
use overlay_abi::errno::Errno;

const NODE: &str = "/dev/test";
/// In and out: a u32, doubled.
const DOUBLE: u32 = 1;
/// In: {address, length} in the caller's model. The bytes there are reversed.
const REVERSE: u32 = 2;
/// Waits until as many as the argument says are here.
const MEET: u32 = 3;
/// Returns the argument.
const RETURN: u32 = 4;
/// In: {address u64, length u64}: a copyin, then a copyout of that many bytes; returns 1 for each
/// that was a fault.
const COPY: u32 = 5;
/// Returns the flags of the open.
const FLAGS: u32 = 6;
/// Blocks until the open's client is gone or 2 s have passed.
const BLOCK: u32 = 7;

#[derive(Default)]
struct Driver {
    opens: AtomicU32,
    exclusive: AtomicBool,
    meeting: Mutex<u64>,
    met: Condvar,
    blocked: AtomicU32,
}

struct TestKernel(Arc<Driver>);

struct Minor {
    driver: Arc<Driver>,
    flags: OpenFlags,
}

impl Kernel for TestKernel {
    fn open(
        &self,
        node: &str,
        flags: OpenFlags,
        cred: &PeerCred,
    ) -> Result<Box<dyn Handle>, Errno> {
        assert_eq!((node, cred.uid), (NODE, rustix::process::geteuid().as_raw()));
        if flags.0 & OpenFlags::EXCL.0 != 0 && self.0.exclusive.swap(true, Ordering::SeqCst) {
            return Err(Errno::EEXIST);
        }
        self.0.opens.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Minor { driver: Arc::clone(&self.0), flags }))
    }
}

impl Drop for Minor {
    fn drop(&mut self) {
        self.driver.opens.fetch_sub(1, Ordering::SeqCst);
        if self.flags.0 & OpenFlags::EXCL.0 != 0 {
            self.driver.exclusive.store(false, Ordering::SeqCst);
        }
    }
}

fn efault<T>(r: Result<T, Fault>) -> Result<T, Errno> {
    r.map_err(|Fault| Errno::EFAULT)
}

fn copyin<const N: usize>(mem: &dyn UserMem, addr: u64) -> Result<[u8; N], Errno> {
    let mut b = [0; N];
    efault(mem.copyin(addr, &mut b))?;
    Ok(b)
}

impl Handle for Minor {
    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let d = &*self.driver;
        match cmd {
            DOUBLE => {
                let v = u32::from_le_bytes(copyin(mem, arg)?);
                efault(mem.copyout(arg, &(v * 2).to_le_bytes()))?;
                Ok(0)
            }
            REVERSE => {
                let (at, len) = match model {
                    Model::Lp64 => {
                        let b: [u8; 16] = copyin(mem, arg)?;
                        let word = |i: usize| u64::from_le_bytes(b[i..i + 8].try_into().unwrap());
                        (word(0), word(8))
                    }
                    Model::Ilp32 => {
                        let b: [u8; 8] = copyin(mem, arg)?;
                        let word = |i: usize| u32::from_le_bytes(b[i..i + 4].try_into().unwrap());
                        (word(0).into(), word(4).into())
                    }
                };
                let mut bytes = vec![0; len as usize];
                efault(mem.copyin(at, &mut bytes))?;
                bytes.reverse();
                efault(mem.copyout(at, &bytes))?;
                Ok(len as i32)
            }
            MEET => {
                let mut here = d.meeting.lock().unwrap();
                *here += 1;
                d.met.notify_all();
                let wait = Duration::from_secs(5);
                let late = d.met.wait_timeout_while(here, wait, |n| *n < arg).unwrap().1;
                if late.timed_out() { Err(Errno::ETIME) } else { Ok(0) }
            }
            RETURN => Ok(arg as i32),
            COPY => {
                let b: [u8; 16] = copyin(mem, arg)?;
                let word = |i: usize| u64::from_le_bytes(b[i..i + 8].try_into().unwrap());
                let mut bytes = vec![0; word(8) as usize];
                let first = mem.copyin(word(0), &mut bytes).is_err();
                Ok(first as i32 + mem.copyout(word(0), &bytes).is_err() as i32)
            }
            FLAGS => Ok(self.flags.0 as i32),
            BLOCK => {
                d.blocked.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(500));
                d.blocked.fetch_sub(1, Ordering::SeqCst);
                // What it got out of the queue reaches nobody when the caller has died.
                efault(mem.copyout(arg, &[1]))?;
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }
}

struct Host {
    root: Root,
    driver: Arc<Driver>,
    server: Option<Server>,
    _dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dev")).unwrap();
        let root = Root::from_env_or(Some(dir.path().to_owned()));
        let mut host = Host { root, driver: Arc::default(), server: None, _dir: dir };
        host.server = Some(host.serve().unwrap());
        host
    }

    fn serve(&self) -> std::io::Result<Server> {
        Server::start(&self.root, &[(NODE, 0o600)], Arc::new(TestKernel(Arc::clone(&self.driver))))
    }

    fn open(&self) -> Device {
        Device::open(&self.root, NODE, OpenFlags::RDWR).unwrap()
    }

    fn opens(&self) -> u32 {
        self.driver.opens.load(Ordering::SeqCst)
    }

    fn raw(&self) -> UnixStream {
        UnixStream::connect(self.root.path(NODE)).unwrap()
    }
}

fn eventually(what: &str, f: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(4);
    while !f() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// ioctl whose argument is a plain value or memory of the test's own.
fn ioctl(d: &Device, cmd: u32, arg: *mut c_void) -> Result<i32, Errno> {
    // SAFETY: the commands of this driver write to what the tests give them, or to addresses that
    // are not mapped.
    unsafe { d.ioctl(cmd, arg) }
}

fn number(n: usize) -> *mut c_void {
    std::ptr::without_provenance_mut(n)
}

fn address<T>(p: &mut [T]) -> u64 {
    p.as_mut_ptr().expose_provenance() as u64
}

#[test]
fn structures_go_in_and_out() {
    let host = Host::new();
    let d = host.open();
    let mut v = 21u32;
    assert_eq!(d.ioctl_with(DOUBLE, &mut v), Ok(0));
    assert_eq!(v, 42);
    assert_eq!(ioctl(&d, RETURN, number(-7i32 as u32 as usize)), Ok(-7));
    assert_eq!(ioctl(&d, 99, number(0)), Err(Errno::ENOTTY));
    let flags = OpenFlags::READ | OpenFlags::EXCL;
    let d = Device::open(&host.root, NODE, flags).unwrap();
    assert_eq!(ioctl(&d, FLAGS, number(0)), Ok(0x401));
}

#[test]
fn pointers_in_structures_are_followed() {
    let host = Host::new();
    let d = host.open();
    let mut data: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let expected: Vec<u8> = data.iter().rev().copied().collect();
    let mut arg = [address(&mut data), data.len() as u64];
    assert_eq!(ioctl(&d, REVERSE, arg.as_mut_ptr().cast()), Ok(100_000));
    assert!(data == expected);
    arg[0] = 8;
    assert_eq!(ioctl(&d, REVERSE, arg.as_mut_ptr().cast()), Err(Errno::EFAULT));
    assert_eq!(d.ioctl_with(DOUBLE, &mut 1u32), Ok(0), "the handle works on");
}

#[test]
fn a_32_bit_caller_is_served_in_its_own_layout() {
    let host = Host::new();
    let d = Device::open_as(&host.root, NODE, OpenFlags::RDWR, Model::Ilp32).unwrap();
    // SAFETY: a fresh anonymous mapping, which the test leaks.
    let low = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let p = libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0);
        assert_ne!(p, libc::MAP_FAILED);
        std::slice::from_raw_parts_mut(p.cast::<u8>(), 4096)
    };
    low[..5].copy_from_slice(b"abcde");
    let mut arg = [u32::try_from(address(low)).unwrap(), 5];
    assert_eq!(ioctl(&d, REVERSE, arg.as_mut_ptr().cast()), Ok(5));
    assert_eq!(&low[..5], b"edcba");
}

#[test]
fn bad_addresses_are_efault() {
    let host = Host::new();
    let d = host.open();
    for bad in [0usize, 1, 0x1000, usize::MAX - 1, 1 << 47, 1 << 63] {
        assert_eq!(ioctl(&d, DOUBLE, number(bad)), Err(Errno::EFAULT), "{bad:#x}");
    }
    // Readable and not writable: a constant of the program.
    static CONSTANT: u32 = 5;
    let p = std::ptr::from_ref(&CONSTANT).cast_mut().cast();
    assert_eq!(ioctl(&d, DOUBLE, p), Err(Errno::EFAULT));
    assert_eq!(CONSTANT, 5);
}

#[test]
fn ioctl_with_lets_the_driver_reach_the_structure_only() {
    let host = Host::new();
    let d = host.open();
    assert_eq!(
        d.ioctl_with(REVERSE, &mut 5u32),
        Err(Errno::EFAULT),
        "structure shorter than the command's"
    );
    let mut secret = *b"secret";
    let mut arg = [address(&mut secret), 6];
    assert_eq!(d.ioctl_with(REVERSE, &mut arg), Err(Errno::EFAULT), "memory outside it");
    assert_eq!(&secret, b"secret");
}

#[test]
fn copies_up_to_the_bound() {
    let host = Host::new();
    let d = host.open();
    let mut memory = vec![3u8; MAX_COPY + 1];
    let mut arg = [address(&mut memory), MAX_COPY as u64];
    assert_eq!(ioctl(&d, COPY, arg.as_mut_ptr().cast()), Ok(0));
    arg[1] += 1;
    assert_eq!(ioctl(&d, COPY, arg.as_mut_ptr().cast()), Ok(2), "one byte more is a fault");
    arg[1] = 0;
    assert_eq!(ioctl(&d, COPY, arg.as_mut_ptr().cast()), Ok(0));
}

#[test]
fn many_ioctls_of_one_handle_run_at_once() {
    const N: usize = 40;
    let host = Host::new();
    let d = host.open();
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..N).map(|_| s.spawn(|| ioctl(&d, MEET, number(N)))).collect();
        for t in threads {
            assert_eq!(t.join().unwrap(), Ok(0));
        }
    });
    assert_eq!(host.opens(), 1, "all of one open");
    drop(d);
    assert_eq!(host.opens(), 0);
}

#[test]
fn answers_are_not_mixed_up() {
    let host = Host::new();
    let d = host.open();
    std::thread::scope(|s| {
        for i in 1..=8u32 {
            let d = &d;
            s.spawn(move || {
                for n in 0..200 {
                    let mut v = i * 1000 + n;
                    assert_eq!(d.ioctl_with(DOUBLE, &mut v), Ok(0));
                    assert_eq!(v, 2 * (i * 1000 + n));
                }
            });
        }
    });
}

#[test]
fn close_is_done_when_drop_returns() {
    let host = Host::new();
    let flags = OpenFlags::RDWR | OpenFlags::EXCL;
    for _ in 0..50 {
        let d = Device::open(&host.root, NODE, flags).unwrap();
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| d.ioctl_with(DOUBLE, &mut 1u32).unwrap());
            }
        });
        assert_eq!(Device::open(&host.root, NODE, flags).unwrap_err().errno, Errno::EEXIST);
        drop(d);
        assert_eq!(host.opens(), 0);
    }
}

#[test]
fn errors_of_open_name_the_node() {
    let host = Host::new();
    let open = |node| Device::open(&host.root, node, OpenFlags::READ).unwrap_err();
    let e = open("/dev/nothing");
    assert_eq!(e.errno, Errno::ENOENT);
    assert!(e.to_string().contains("/dev/nothing"), "{e}");
    drop(UnixListener::bind(host.root.path("/dev/dead")).unwrap());
    let e = open("/dev/dead");
    assert_eq!(e.errno, Errno::EIO);
    assert!(e.to_string().contains("gone"), "{e}");
}

#[test]
fn a_node_in_use_is_refused_and_a_stale_one_taken_over() {
    let mut host = Host::new();
    let e = host.serve().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AddrInUse);
    assert!(e.to_string().contains("dev/test"), "{e}");
    host.server = None;
    assert!(!host.root.path(NODE).exists());
    drop(UnixListener::bind(host.root.path(NODE)).unwrap());
    host.server = Some(host.serve().unwrap());
    host.open().ioctl_with(DOUBLE, &mut 1u32).unwrap();
}

#[test]
fn a_handle_of_a_kernel_that_is_gone_gives_eio() {
    let mut host = Host::new();
    let d = host.open();
    d.ioctl_with(DOUBLE, &mut 1u32).unwrap();
    host.server = None;
    assert_eq!(host.opens(), 0, "the server closed it");
    assert_eq!(d.ioctl_with(DOUBLE, &mut 1u32), Err(Errno::EIO));
    host.server = Some(host.serve().unwrap());
    assert_eq!(
        d.ioctl_with(DOUBLE, &mut 1u32),
        Err(Errno::EIO),
        "a new kernel knows nothing of it"
    );
}

#[test]
fn stopping_the_server_waits_for_ioctls_and_ends_programs() {
    let mut host = Host::new();
    let d = host.open();
    let entered = Barrier::new(2);
    std::thread::scope(|s| {
        let call = s.spawn(|| {
            let mut byte = [0u8];
            entered.wait();
            ioctl(&d, BLOCK, byte.as_mut_ptr().cast())
        });
        entered.wait();
        eventually("it blocks", || host.driver.blocked.load(Ordering::SeqCst) == 1);
        host.server = None;
        assert_eq!(host.driver.blocked.load(Ordering::SeqCst), 0);
        assert_eq!(host.opens(), 0);
        assert_eq!(call.join().unwrap(), Err(Errno::EIO));
    });
}

/// Not a test of its own: the process that the next one kills. It needs a root in its environment.
#[test]
fn victim() {
    let Some(root) = std::env::var_os("DEVCTL_TEST_VICTIM") else { return };
    let root = Root::from_env_or(Some(root.into()));
    let d = Device::open(&root, NODE, OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut byte = [0u8];
                while ioctl(&d, BLOCK, byte.as_mut_ptr().cast()).is_ok() {}
            });
        }
    });
}

#[test]
fn death_of_the_client_closes_its_open() {
    let host = Host::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env("DEVCTL_TEST_VICTIM", host.root.dir())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("three ioctls block", || host.driver.blocked.load(Ordering::SeqCst) == 3);
    assert_eq!(host.opens(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the open is closed", || host.opens() == 0);
    Device::open(&host.root, NODE, OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
}

fn header(op: u32, value: u32, addr: u64, len: u32, aux: u32) -> Vec<u8> {
    let mut b = Vec::new();
    for w in [op, value] {
        b.extend_from_slice(&w.to_le_bytes());
    }
    b.extend_from_slice(&addr.to_le_bytes());
    for w in [len, aux] {
        b.extend_from_slice(&w.to_le_bytes());
    }
    b
}

const LP64_V1: u32 = 0x140;

/// Sends `bytes`, then reads until the server closes.
fn until_closed(mut s: UnixStream, bytes: &[u8]) -> Vec<u8> {
    let _ = s.write_all(bytes);
    let _ = s.shutdown(std::net::Shutdown::Write);
    s.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut got = Vec::new();
    match s.read_to_end(&mut got) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => panic!("not closed: {e}"),
        _ => got,
    }
}

#[test]
fn garbage_at_the_node_harms_nobody() {
    let host = Host::new();
    let d = host.open();
    let open = header(1, 3, 0, 0, LP64_V1);
    let then = |more: Vec<u8>| [open.clone(), more].concat();
    let refused = [
        vec![],
        vec![0; 5],
        vec![0xff; 100_000],
        header(1, 3, 0, 0, 0x240),
        header(1, 3, 0, 0, 0x141),
        header(1, 3, 0, 8, LP64_V1),
        header(2, 0, 0, 15, LP64_V1),
        header(2, 0, 0, u32::MAX, LP64_V1),
        header(3, 1, 0, 0, LP64_V1),
        then(header(1, 3, 0, 0, LP64_V1)),
        then(header(99, 0, 0, 0, 0)),
        then(header(3, DOUBLE, 8, 4, 0)),
        // A dialogue in which the program answers out of turn, too long, too short, or not at all.
        then([header(3, DOUBLE, 8, 0, 0), header(6, 0, 0, 0, 0)].concat()),
        then([header(3, DOUBLE, 8, 0, 0), header(4, 0, 0, 5, 0), vec![0; 5]].concat()),
        then([header(3, DOUBLE, 8, 0, 0), header(4, 0, 0, 4, 0), vec![0; 3]].concat()),
        then([header(3, DOUBLE, 8, 0, 0), header(4, 7, 0, 0, 0)].concat()),
        then(
            [
                header(3, DOUBLE, 8, 0, 0),
                header(4, 0, 0, 4, 0),
                vec![1, 0, 0, 0],
                header(4, 0, 0, 0, 0),
            ]
            .concat(),
        ),
        then(header(3, DOUBLE, 8, 0, 0)),
    ];
    for bytes in refused {
        until_closed(host.raw(), &bytes);
    }
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..300 {
        let mut bytes = open.clone();
        for _ in 0..6 {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let r = (seed >> 33) as u32;
            let (op, len) = (r % 13, [0, 4, r % 64][r as usize % 3]);
            let cmd = [DOUBLE, RETURN, FLAGS, r][(r >> 7 & 3) as usize];
            let cmd = if cmd == MEET || cmd == BLOCK { 0 } else { cmd };
            bytes.extend(header(op, cmd, seed, len, 0));
            bytes.extend(vec![r as u8; (r >> 9 & 7) as usize]);
        }
        until_closed(host.raw(), &bytes);
    }
    eventually("all their opens are closed", || host.opens() == 1);
    let mut v = 4u32;
    assert_eq!(d.ioctl_with(DOUBLE, &mut v), Ok(0));
    assert_eq!(v, 8);
}

#[test]
fn a_guessed_token_joins_nothing() {
    let host = Host::new();
    let _d = host.open();
    let got = until_closed(host.raw(), &[header(2, 0, 0, 16, LP64_V1), vec![0; 16]].concat());
    assert_eq!(got, header(7, Errno::EBADF.0 as u32, 0, 0, 0));
    assert_eq!(host.opens(), 1);
}

#[test]
fn tokens_differ() {
    let host = Host::new();
    let tokens: HashSet<_> = (0..20)
        .map(|_| until_closed(host.raw(), &header(1, 3, 0, 0, LP64_V1))[24..].to_vec())
        .collect();
    assert_eq!(tokens.len(), 20);
    assert!(tokens.iter().all(|t| t.len() == 16));
}

#[test]
fn too_many_connections_get_eagain() {
    let host = Host::new();
    let held: Vec<_> = (0..1024).map(|_| host.raw()).collect();
    let e = Device::open(&host.root, NODE, OpenFlags::READ).unwrap_err();
    assert_eq!(e.errno, Errno::EAGAIN);
    drop(held);
    eventually("their places are given back", || {
        Device::open(&host.root, NODE, OpenFlags::READ).is_ok()
    });
}

/// A server that asks for what it has no right to.
#[test]
fn a_client_survives_a_hostile_server() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::from_env_or(Some(dir.path().to_owned()));
    let listener = UnixListener::bind(dir.path().join("node")).unwrap();
    let answers = [
        header(8, 0, 0, u32::MAX, 0),
        header(8, 0, u64::MAX, 16 << 20, 0),
        [header(9, 0, 8, 4, 0), vec![0; 4]].concat(),
        header(9, 0, 8, 400, 0),
        header(7, 0, 0, 0, 0),
        header(10, 0, 0, 0, 0)[..10].to_vec(),
        vec![0xaa; 24],
        vec![],
    ];
    let count = answers.len();
    let server = std::thread::spawn(move || {
        for answer in answers {
            let (mut s, _) = listener.accept().unwrap();
            s.read_exact(&mut [0; 24]).unwrap();
            s.write_all(&[header(7, 0, 0, 16, 0), vec![9; 16]].concat()).unwrap();
            s.read_exact(&mut [0; 24]).unwrap();
            s.write_all(&answer).unwrap();
            let _ = s.shutdown(std::net::Shutdown::Write);
            let _ = s.read_to_end(&mut Vec::new());
        }
    });
    for _ in 0..count {
        let d = Device::open(&root, "/node", OpenFlags::READ).unwrap();
        assert_eq!(d.ioctl_with(DOUBLE, &mut 3u32), Err(Errno::EIO));
    }
    server.join().unwrap();
}
