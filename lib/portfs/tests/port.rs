// SPDX-License-Identifier: CDDL-1.0
//! The rules of the crate's essay, one after the other.
use portfs::{Event, Port, Ready, Source};
use rustix::pipe::pipe;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any event takes that comes.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
/// Not at all: what is there is there.
const NOW: Option<Duration> = Some(Duration::ZERO);

fn get(port: &Port) -> Event {
    port.get(PATIENCE).unwrap().expect("an event")
}

fn nothing(port: &Port) {
    assert_eq!(port.get(NOW).unwrap(), None);
}

/// A pipe with a byte in it.
fn readable() -> (OwnedFd, OwnedFd) {
    let (read, write) = pipe().unwrap();
    rustix::io::write(&write, b"x").unwrap();
    (read, write)
}

fn fd_event(fd: impl AsFd, ready: Ready, user: usize) -> Event {
    Event { source: Source::Fd(fd.as_fd().as_raw_fd(), ready), user }
}

fn not_found(result: std::io::Result<()>) {
    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn an_association_is_good_for_one_event() {
    let port = Port::new().unwrap();
    let (read, _write) = readable();
    port.associate(&read, Ready::IN, 7).unwrap();
    assert_eq!(get(&port), fd_event(&read, Ready::IN, 7));
    // Still readable, but nobody asked again.
    nothing(&port);
    port.associate(&read, Ready::IN, 8).unwrap();
    assert_eq!(get(&port), fd_event(&read, Ready::IN, 8));
    nothing(&port);
}

#[test]
fn an_event_comes_when_it_happens() {
    let port = Port::new().unwrap();
    let (read, write) = pipe().unwrap();
    port.associate(&read, Ready::IN, 1).unwrap();
    nothing(&port);
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        rustix::io::write(&write, b"x").unwrap();
        write
    });
    assert_eq!(get(&port), fd_event(&read, Ready::IN, 1));
    writer.join().unwrap();
}

#[test]
fn only_what_was_asked_for_and_what_went_wrong() {
    let port = Port::new().unwrap();
    let (mut a, b) = UnixStream::pair().unwrap();
    port.associate(&b, Ready::OUT, 1).unwrap();
    a.write_all(b"x").unwrap();
    assert_eq!(get(&port), fd_event(&b, Ready::OUT, 1));
    port.associate(&b, Ready::IN | Ready::OUT, 2).unwrap();
    assert_eq!(get(&port), fd_event(&b, Ready::IN | Ready::OUT, 2));
    // The end of the other side comes without being asked for.
    port.associate(&b, Ready::PRI, 3).unwrap();
    nothing(&port);
    drop(a);
    let Source::Fd(fd, ready) = get(&port).source else { panic!("not of the descriptor") };
    assert!(fd == b.as_raw_fd() && ready.contains(Ready::HUP) && !ready.intersects(Ready::IN));
}

#[test]
fn a_new_association_takes_the_place_of_the_old_and_of_its_event() {
    let port = Port::new().unwrap();
    let (read, _write) = readable();
    port.associate(&read, Ready::IN, 1).unwrap();
    port.associate(&read, Ready::IN, 2).unwrap();
    assert_eq!(get(&port), fd_event(&read, Ready::IN, 2));
    nothing(&port);
    let (a, _b) = UnixStream::pair().unwrap();
    port.associate(&a, Ready::OUT, 3).unwrap();
    port.associate(&a, Ready::IN, 4).unwrap();
    nothing(&port);
}

#[test]
fn a_port_knows_its_own_associations_only() {
    let (one, two) = (Port::new().unwrap(), Port::new().unwrap());
    let (read, _write) = readable();
    one.associate(&read, Ready::IN, 1).unwrap();
    two.associate(&read, Ready::IN, 2).unwrap();
    one.dissociate(&read).unwrap();
    nothing(&one);
    assert_eq!(get(&two), fd_event(&read, Ready::IN, 2));
}

#[test]
fn a_dissociated_descriptor_is_not_heard_of() {
    let port = Port::new().unwrap();
    let (read, write) = pipe().unwrap();
    not_found(port.dissociate(&read));
    port.associate(&read, Ready::IN, 1).unwrap();
    port.dissociate(&read).unwrap();
    not_found(port.dissociate(&read));
    rustix::io::write(&write, b"x").unwrap();
    nothing(&port);
    // With its event, if nobody got that.
    port.associate(&read, Ready::IN, 2).unwrap();
    port.dissociate(&read).unwrap();
    nothing(&port);
    // Whose event was got has no association.
    port.associate(&read, Ready::IN, 3).unwrap();
    get(&port);
    not_found(port.dissociate(&read));
    port.associate(&read, Ready::IN, 4).unwrap();
    assert_eq!(get(&port).user, 4);
}

#[test]
fn a_closed_descriptor_takes_its_association_along() {
    let port = Port::new().unwrap();
    let (read, write) = pipe().unwrap();
    port.associate(&read, Ready::IN, 1).unwrap();
    let number = read.as_raw_fd();
    // The file stays open under another number, so that something can happen to it.
    let other = read.try_clone().unwrap();
    drop(read);
    rustix::io::write(&write, b"x").unwrap();
    nothing(&port);

    // The next file that gets the number has nothing to do with that.
    let (a, b) = UnixStream::pair().unwrap();
    let again = [a, b].into_iter().find(|s| s.as_raw_fd() == number);
    if let Some(again) = again {
        nothing(&port);
        not_found(port.dissociate(&again));
        port.associate(&again, Ready::OUT, 2).unwrap();
        assert!(get(&port).user == 2);
    }
    port.associate(&other, Ready::IN, 3).unwrap();
    assert_eq!(get(&port), fd_event(&other, Ready::IN, 3));
}

#[test]
fn a_closed_descriptor_whose_number_is_used_again_is_not_heard_of() {
    let port = Port::new().unwrap();
    let (read, write) = pipe().unwrap();
    let kept = read.try_clone().unwrap();
    port.associate(&read, Ready::IN, 1).unwrap();
    // The same number is another file now, and the first one becomes readable.
    let (silent, _end) = pipe().unwrap();
    let mut read = read;
    rustix::io::dup2(&silent, &mut read).unwrap();
    rustix::io::write(&write, b"x").unwrap();
    nothing(&port);
    not_found(port.dissociate(&read));
    drop(kept);
}

#[test]
fn connecting_and_accepting() {
    let port = Port::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    port.associate(&listener, Ready::IN, 1).unwrap();
    nothing(&port);
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(get(&port), fd_event(&listener, Ready::IN, 1));
    let (mut server, _) = listener.accept().unwrap();
    port.associate(&client, Ready::OUT, 2).unwrap();
    assert_eq!(get(&port), fd_event(&client, Ready::OUT, 2));
    port.associate(&client, Ready::IN, 3).unwrap();
    server.write_all(b"x").unwrap();
    assert_eq!(get(&port), fd_event(&client, Ready::IN, 3));
}

#[test]
fn messages_come_in_order() {
    let port = Port::new().unwrap();
    for n in 0..1000 {
        port.send(n - 500, n as usize).unwrap();
    }
    for n in 0..1000 {
        assert_eq!(get(&port), Event { source: Source::User(n - 500), user: n as usize });
    }
    nothing(&port);
    port.send(i32::MIN, usize::MAX).unwrap();
    assert_eq!(get(&port), Event { source: Source::User(i32::MIN), user: usize::MAX });
}

#[test]
fn a_message_wakes_who_waits() {
    let port = Port::new().unwrap();
    let waiting = port.clone();
    let waiter = thread::spawn(move || waiting.get(None).unwrap());
    thread::sleep(Duration::from_millis(20));
    port.send(3, 4).unwrap();
    assert_eq!(waiter.join().unwrap(), Some(Event { source: Source::User(3), user: 4 }));
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    let port = Port::new().unwrap();
    let begin = Instant::now();
    assert_eq!(port.get(Some(Duration::from_millis(30))).unwrap(), None);
    assert!(begin.elapsed() >= Duration::from_millis(30));
}

#[test]
fn a_timer_expires_once_or_again_and_again() {
    let port = Port::new().unwrap();
    let timer = port.timer(9).unwrap();
    nothing(&port);
    let begin = Instant::now();
    timer.set(Duration::from_millis(20), None).unwrap();
    assert_eq!(get(&port), Event { source: Source::Timer(1), user: 9 });
    assert!(begin.elapsed() >= Duration::from_millis(20));
    thread::sleep(Duration::from_millis(30));
    nothing(&port);

    timer.set(Duration::from_millis(5), Some(Duration::from_millis(5))).unwrap();
    thread::sleep(Duration::from_millis(60));
    // Expirations that nobody has got are one event.
    let Source::Timer(times) = get(&port).source else { panic!("not of the timer") };
    assert!(times >= 10, "{times}");
    assert!(matches!(get(&port).source, Source::Timer(1..)));
    timer.stop().unwrap();
    // At most one that was there before.
    let _ = port.get(NOW).unwrap();
    thread::sleep(Duration::from_millis(20));
    nothing(&port);
    timer.set(Duration::ZERO, None).unwrap();
    assert_eq!(get(&port).source, Source::Timer(1), "no time at all is the shortest there is");
}

#[test]
fn a_dropped_timer_takes_its_event_along() {
    let port = Port::new().unwrap();
    let (gone, stays) = (port.timer(1).unwrap(), port.timer(2).unwrap());
    gone.set(Duration::from_millis(1), None).unwrap();
    stays.set(Duration::from_millis(1), None).unwrap();
    thread::sleep(Duration::from_millis(20));
    drop(gone);
    assert_eq!(get(&port), Event { source: Source::Timer(1), user: 2 });
    nothing(&port);
}

/// Threads that get events of many descriptors at once: each byte is read once, and a descriptor never by two.
#[test]
fn each_event_goes_to_one_thread() {
    const PIPES: usize = 16;
    const BYTES: usize = 500;
    let port = Port::new().unwrap();
    let pipes: Vec<_> = (0..PIPES).map(|_| UnixStream::pair().unwrap()).collect();
    let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
    let readers = Arc::new(readers);
    let busy: Arc<Vec<AtomicBool>> = Arc::new((0..PIPES).map(|_| AtomicBool::default()).collect());
    let total = Arc::new(AtomicUsize::new(0));
    for (n, reader) in readers.iter().enumerate() {
        port.associate(reader, Ready::IN, n).unwrap();
    }
    let work = || {
        let (port, readers) = (port.clone(), Arc::clone(&readers));
        let (busy, total) = (Arc::clone(&busy), Arc::clone(&total));
        thread::spawn(move || {
            loop {
                let event = get(&port);
                let Source::Fd(..) = event.source else { return };
                assert!(!busy[event.user].swap(true, Ordering::SeqCst), "two have it");
                let mut buf = [0; 7];
                let n = (&readers[event.user]).read(&mut buf).unwrap();
                let all = total.fetch_add(n, Ordering::SeqCst) + n;
                busy[event.user].store(false, Ordering::SeqCst);
                port.associate(&readers[event.user], Ready::IN, event.user).unwrap();
                if all == PIPES * BYTES {
                    (0..6).for_each(|_| port.send(0, 0).unwrap());
                }
            }
        })
    };
    let threads: Vec<_> = (0..6).map(|_| work()).collect();
    for mut writer in writers {
        thread::spawn(move || {
            (0..BYTES).for_each(|_| writer.write_all(b"x").unwrap());
            // Not closed before everything was read: the end of a stream is an event too.
            thread::park_timeout(Duration::from_secs(60));
        });
    }
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(total.load(Ordering::SeqCst), PIPES * BYTES);
}

/// Associations come and go while others wait: whoever gets an event gets one that was asked for, and nobody hears of
/// a descriptor that was dissociated before.
#[test]
fn associations_come_and_go_under_those_who_wait() {
    let port = Port::new().unwrap();
    let getters: Vec<_> = (0..3)
        .map(|_| {
            let port = port.clone();
            thread::spawn(move || {
                let mut seen: HashMap<usize, usize> = HashMap::new();
                loop {
                    let event = get(&port);
                    match event.source {
                        Source::Fd(..) => *seen.entry(event.user).or_default() += 1,
                        _ => return seen,
                    }
                }
            })
        })
        .collect();
    let mut taken_back = 0;
    let (read, _write) = readable();
    for n in 0..3000 {
        port.associate(&read, Ready::IN, n).unwrap();
        if n % 2 == 0 && port.dissociate(&read).is_ok() {
            taken_back += 1;
        } else if n % 2 == 1 {
            // Until it was got: then there is no association.
            while port.dissociate(&read).is_ok() {
                port.associate(&read, Ready::IN, n).unwrap();
                thread::yield_now();
            }
        }
    }
    (0..3).for_each(|_| port.send(0, 0).unwrap());
    let mut all: HashMap<usize, usize> = HashMap::new();
    for getter in getters {
        getter
            .join()
            .unwrap()
            .into_iter()
            .for_each(|(n, times)| *all.entry(n).or_default() += times);
    }
    assert!(all.values().all(|times| *times == 1), "an association is good for one event");
    assert_eq!(all.len() + taken_back, 3000);
}

#[test]
fn sets_of_bits() {
    let both = Ready::IN | Ready::HUP;
    assert!(both.contains(Ready::HUP) && !both.contains(Ready::OUT | Ready::IN));
    assert!(both.intersects(Ready::OUT | Ready::IN) && !both.intersects(Ready::ERR));
    assert_eq!(format!("{both:?} {:?}", Ready::default()), "IN|HUP none");
}
