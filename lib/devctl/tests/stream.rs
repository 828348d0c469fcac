// SPDX-License-Identifier: CDDL-1.0
//! Streams over the real sockets, to a small driver that sends back what it gets.
#![cfg(not(target_os = "illumos"))]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use devctl::server::{Handle, Kernel, Messages, Server, UserMem};
use devctl::{FLUSH_READ, Got, Message, Model, OpenFlags, PeerCred, Root, Stream};
use overlay_abi::errno::Errno;

const NODE: &str = "/dev/echo";
const PLAIN: &str = "/dev/plain";
const LONG: Option<Duration> = Some(Duration::from_secs(30));
const NOW: Option<Duration> = Some(Duration::ZERO);

#[derive(Default)]
struct State(VecDeque<Message>, Option<Result<Got, Errno>>);

#[derive(Default)]
struct Queue {
    messages: Mutex<State>,
    changed: Condvar,
    closed: AtomicUsize,
    /// Messages taken out.
    taken: AtomicUsize,
    woken: AtomicBool,
}

struct Echo(Arc<Queue>);

impl Kernel for Echo {
    fn open(&self, node: &str, _: OpenFlags, _: &PeerCred) -> Result<Box<dyn Handle>, Errno> {
        Ok(Box::new(Open(Arc::clone(&self.0), node == NODE)))
    }
}

struct Open(Arc<Queue>, bool);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, SeqCst);
    }
}

impl Handle for Open {
    /// I_FLUSH; 1: returns the argument; else hangs up (2) or sets EIO (3).
    fn ioctl(&self, cmd: u32, arg: u64, _: Model, _: &dyn UserMem) -> Result<i32, Errno> {
        let mut m = self.0.messages.lock().unwrap();
        match cmd {
            0x5305 => m.0.clear(),
            2 => m.1 = Some(Ok(Got::Hangup)),
            3 => m.1 = Some(Err(Errno::EIO)),
            _ => return Ok(arg as i32),
        }
        self.0.changed.notify_all();
        Ok(0)
    }

    fn messages(&self) -> Option<&dyn Messages> {
        self.1.then_some(&*self.0)
    }
}

impl Messages for Queue {
    fn put(&self, m: &Message) -> Result<(), Errno> {
        if m.high && m.control.is_none() {
            return Err(Errno::EINVAL);
        }
        self.messages.lock().unwrap().0.push_back(m.clone());
        self.changed.notify_all();
        Ok(())
    }

    fn get(&self) -> Result<Got, Errno> {
        let mut m = self.messages.lock().unwrap();
        if let Some(first) = m.0.pop_front() {
            self.taken.fetch_add(1, SeqCst);
            return Ok(Got::Message(first));
        }
        m.1.clone().unwrap_or(Ok(Got::Nothing))
    }

    fn wait(&self, patience: Duration) {
        let m = self.messages.lock().unwrap();
        let idle =
            |m: &mut State| m.0.is_empty() && m.1.is_none() && !self.woken.swap(false, SeqCst);
        drop(self.changed.wait_timeout_while(m, patience, idle).unwrap());
    }

    fn wake(&self) {
        self.woken.store(true, SeqCst);
        self.changed.notify_all();
    }
}

struct Host {
    _dir: tempfile::TempDir,
    root: Root,
    queue: Arc<Queue>,
    server: Server,
}

fn host() -> Host {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("dev")).unwrap();
    let root = Root::from_env_or(Some(dir.path().into()));
    let queue = Arc::<Queue>::default();
    let nodes = [(NODE, 0o600), (PLAIN, 0o600)];
    let server = Server::start(&root, &nodes, Arc::new(Echo(Arc::clone(&queue)))).unwrap();
    Host { _dir: dir, root, queue, server }
}

fn open(h: &Host) -> Stream {
    Stream::open(&h.root, NODE, OpenFlags::RDWR).unwrap()
}

fn data(bytes: &[u8]) -> Message {
    Message { data: Some(bytes.to_vec()), ..Message::default() }
}

fn return_7(s: &Stream) -> Result<i32, Errno> {
    // SAFETY: the driver looks at no memory.
    unsafe { s.ioctl(1, std::ptr::without_provenance_mut(7)) }
}

#[test]
fn messages_to_and_fro() {
    let h = host();
    let s = open(&h);
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
    let part = |p: &str| Some(p.as_bytes().to_vec());
    let all = [
        data(b"one"),
        Message { high: true, control: part("ctl"), data: None },
        Message { high: false, control: part(""), data: part("two") },
        data(b""),
    ];
    for m in &all {
        s.putmsg(m).unwrap();
    }
    assert_eq!(return_7(&s), Ok(7));
    for m in all {
        assert_eq!(s.getmsg(LONG), Ok(Got::Message(m)));
    }
    assert_eq!(s.putmsg(&Message { high: true, ..data(b"x") }), Err(Errno::EINVAL));
    assert_eq!(s.poll(Some(Duration::from_millis(10))), Ok(false));
    let plain = Stream::open(&h.root, PLAIN, OpenFlags::RDWR).unwrap_err();
    assert_eq!(plain.errno, Errno::ENOSTR);
}

#[test]
fn closing_is_done_when_the_stream_is_dropped() {
    let h = host();
    for n in 1..20 {
        let s = open(&h);
        s.putmsg(&data(b"x")).unwrap();
        drop(s);
        assert_eq!(h.queue.closed.load(SeqCst), n);
    }
}

#[test]
fn the_end_of_a_stream_stays() {
    let h = host();
    let s = open(&h);
    s.putmsg(&data(b"last")).unwrap();
    // SAFETY: the driver looks at no memory.
    unsafe { s.ioctl(2, std::ptr::null_mut()).unwrap() };
    assert_eq!(s.getmsg(LONG), Ok(Got::Message(data(b"last"))));
    assert_eq!(s.getmsg(LONG), Ok(Got::Hangup));
    assert_eq!(s.getmsg(LONG), Ok(Got::Hangup));
    drop(s);
    h.queue.messages.lock().unwrap().1 = None;
    let s = open(&h);
    // SAFETY: as above.
    unsafe { s.ioctl(3, std::ptr::null_mut()).unwrap() };
    assert_eq!(s.getmsg(LONG), Err(Errno::EIO));
    assert_eq!(s.getmsg(None), Err(Errno::EIO));
}

#[test]
fn what_came_before_a_flush_is_not_read_after_it() {
    let h = host();
    let s = open(&h);
    for round in 0..50u32 {
        for _ in 0..20 {
            s.putmsg(&data(&round.to_le_bytes())).unwrap();
        }
        if round % 2 == 0 {
            // Some have been sent already.
            assert_eq!(s.getmsg(LONG), Ok(Got::Message(data(&round.to_le_bytes()))));
        }
        s.flush(FLUSH_READ).unwrap();
        s.putmsg(&data(b"after")).unwrap();
        assert_eq!(s.getmsg(LONG), Ok(Got::Message(data(b"after"))));
    }
    assert_eq!(s.getmsg(NOW), Ok(Got::Nothing));
}

/// Messages wait in the socket, and beyond that in the kernel; calls are not held up.
#[test]
fn a_slow_reader_takes_bounded_memory() {
    let h = host();
    let s = open(&h);
    for n in 0..2000u32 {
        s.putmsg(&data(&n.to_le_bytes().repeat(256))).unwrap();
    }
    let start = Instant::now();
    let mut before = usize::MAX;
    // Until no more is taken.
    while before != h.queue.taken.load(SeqCst) && start.elapsed() < Duration::from_secs(30) {
        before = h.queue.taken.load(SeqCst);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(before < 1000, "{before} kB are in flight");
    assert_eq!(return_7(&s), Ok(7));
    for n in 0..2000u32 {
        let Ok(Got::Message(m)) = s.getmsg(LONG) else { panic!("message {n}") };
        assert_eq!(m.data.unwrap()[..4], n.to_le_bytes());
    }
}

#[test]
fn it_can_be_polled_beside_others() {
    let h = host();
    let s = open(&h);
    let mut fds =
        [rustix::event::PollFd::from_borrowed_fd(s.as_fd(), rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&Default::default())), Ok(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            s.putmsg(&data(b"x")).unwrap();
        });
        assert_eq!(s.poll(LONG), Ok(true));
    });
    assert_eq!(s.getmsg(NOW), Ok(Got::Message(data(b"x"))));
}

#[test]
fn nodes_come_and_go() {
    let h = host();
    let node = "/dev/later";
    let gone = |e: devctl::Error| e.errno;
    let try_open = || Stream::open(&h.root, node, OpenFlags::RDWR);
    assert_eq!(try_open().map(drop).map_err(gone), Err(Errno::ENOENT));
    h.server.add(node, 0o600).unwrap();
    h.server.add(node, 0o600).unwrap();
    // Of another name than the stream's: no messages.
    assert_eq!(try_open().map(drop).map_err(gone), Err(Errno::ENOSTR));
    h.server.remove(node);
    assert_eq!(try_open().map(drop).map_err(gone), Err(Errno::ENOENT));
}

/// A program that is in the middle of something, or late: it is told that the stream was hung up, never
/// that the kernel is gone.
#[test]
fn the_streams_of_a_node_that_goes_are_hung_up() {
    for late in [false, true] {
        let h = host();
        let (s, other) = (open(&h), open(&h));
        // More than a socket takes.
        let sent = if late { 2000 } else { 3 };
        for n in 0..sent {
            s.putmsg(&data(&u32::to_le_bytes(n).repeat(100))).unwrap();
        }
        h.queue.messages.lock().unwrap().1 = Some(Ok(Got::Hangup));
        h.server.remove(NODE);
        assert_eq!(h.queue.closed.load(SeqCst), 2, "the driver's side is closed");
        assert_eq!(s.putmsg(&data(b"x")), Err(Errno::ENXIO));
        assert_eq!(return_7(&s), Err(Errno::ENXIO));
        assert_eq!(s.flush(FLUSH_READ), Err(Errno::ENXIO));
        let mut read = [0; 2];
        for (stream, read) in [&s, &other].into_iter().zip(&mut read) {
            loop {
                match stream.getmsg(LONG) {
                    Ok(Got::Message(_)) => *read += 1,
                    end => break assert_eq!(end, Ok(Got::Hangup)),
                }
            }
        }
        // Both take from one queue.
        assert_eq!(read[0] + read[1], sent);
        let gone = Stream::open(&h.root, NODE, OpenFlags::RDWR).unwrap_err();
        assert_eq!(gone.errno, Errno::ENOENT);
        // One of the same name is another.
        h.queue.messages.lock().unwrap().1 = None;
        h.server.add(NODE, 0o600).unwrap();
        let new = open(&h);
        new.putmsg(&data(b"new")).unwrap();
        assert_eq!(new.getmsg(LONG), Ok(Got::Message(data(b"new"))));
        assert_eq!(s.getmsg(LONG), Ok(Got::Hangup));
        drop((s, other, new));
        assert_eq!(h.queue.closed.load(SeqCst), 3);
    }
}

#[test]
fn programs_are_never_told_eio_when_a_node_goes() {
    let h = host();
    let done = AtomicBool::new(false);
    let ends = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    let s = match Stream::open(&h.root, NODE, OpenFlags::RDWR) {
                        Ok(s) => s,
                        Err(e) => {
                            ends.lock().unwrap().push(Err(e.errno));
                            continue;
                        }
                    };
                    let end = loop {
                        if let Err(e) = s.putmsg(&data(b"x")).and_then(|()| return_7(&s)) {
                            break Err(e);
                        }
                        match s.getmsg(Some(Duration::from_millis(1))) {
                            Ok(Got::Message(_) | Got::Nothing) => {}
                            end => break end.map(drop),
                        }
                    };
                    ends.lock().unwrap().push(end);
                    // The reader's end is always a hang-up.
                    while !matches!(s.getmsg(LONG), Ok(Got::Hangup)) {}
                }
            });
        }
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(5));
            h.queue.messages.lock().unwrap().1 = Some(Ok(Got::Hangup));
            h.queue.changed.notify_all();
            h.server.remove(NODE);
            h.queue.messages.lock().unwrap().1 = None;
            h.server.add(NODE, 0o600).unwrap();
        }
        done.store(true, SeqCst);
        h.queue.messages.lock().unwrap().1 = Some(Ok(Got::Hangup));
        h.queue.changed.notify_all();
    });
    let ends = ends.into_inner().unwrap();
    assert!(ends.len() > 60, "{}", ends.len());
    let wrong = |e: &&Result<(), Errno>| !matches!(e, Ok(()) | Err(Errno::ENXIO | Errno::ENOENT));
    let wrong: Vec<_> = ends.iter().filter(wrong).collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), ends.len(), wrong[0]);
}

/// A header of the protocol: operation, value, addr, len, aux.
fn header(op: u32, value: i32, len: u32, aux: u32) -> Vec<u8> {
    let (op, value) = (op.to_le_bytes(), value.to_le_bytes());
    [&op[..], &value, &[0; 8], &len.to_le_bytes(), &aux.to_le_bytes()].concat()
}

#[test]
fn whoever_does_not_keep_to_the_protocol_is_cut_off() {
    const PUTMSG: u32 = 12;
    const READ: u32 = 13;
    let h = host();
    let bad = [
        // More control than there are bytes; bytes of no part; a length nobody has memory for.
        [header(PUTMSG, 2, 3, 9), vec![0; 3]].concat(),
        [header(PUTMSG, 0, 3, 0), vec![0; 3]].concat(),
        header(PUTMSG, 4, u32::MAX, 0),
        header(READ, 0, 8, 0),
        // What only the kernel says; and nothing is said after READ.
        header(14, 4, 0, 0),
        header(15, 0, 0, 0),
        [header(READ, 0, 0, 0), header(READ, 0, 0, 0)].concat(),
        // Half a message.
        header(PUTMSG, 4, 100, 0),
    ];
    for (n, bytes) in bad.iter().enumerate() {
        let mut s = UnixStream::connect(h.root.path(NODE)).unwrap();
        s.set_read_timeout(LONG).unwrap();
        s.write_all(&header(1, 3, 0, 1 << 8 | Model::NATIVE as u32)).unwrap();
        let mut opened = [0; 40];
        s.read_exact(&mut opened).unwrap();
        s.write_all(bytes).unwrap();
        s.shutdown(Shutdown::Write).unwrap();
        // The end, after a RETURN for what was right.
        let end = s.read_to_end(&mut Vec::new()).map_err(|e| e.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
        let start = Instant::now();
        while h.queue.closed.load(SeqCst) <= n && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(h.queue.closed.load(SeqCst), n + 1);
    }
    let s = open(&h);
    s.putmsg(&data(b"fine")).unwrap();
    assert_eq!(s.getmsg(LONG), Ok(Got::Message(data(b"fine"))));
}
