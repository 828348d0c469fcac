// SPDX-License-Identifier: CDDL-1.0
//! The client over the real sockets, to a small driver that behaves as ipnet or a link does, or badly.
#![cfg(not(target_os = "illumos"))]

use devctl::server::{Handle, Kernel, Messages, Server, UserMem};
use devctl::{Got, Message, Model, OpenFlags, PeerCred, Root};
use dlpi::{DL_ETHER, DL_IPNET, Dlpi, Error, Next, Node};
use overlay_abi::errno::Errno;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const NODES: [&str; 7] = [
    "/dev/net/net0",
    "/dev/ipnet/net0",
    "/dev/ipnet/odd0",
    "/dev/ipnet/no0",
    "/dev/ipnet/new0",
    "/dev/ipnet/gone0",
    "/dev/ipnet/zone/z1/net0",
];
const LONG: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Queue {
    messages: Mutex<VecDeque<Got>>,
    changed: Condvar,
}

struct Driver {
    /// What was asked of any stream: primitives, ioctls.
    asked: Arc<Mutex<Vec<String>>>,
    /// Of the stream that was opened last.
    queue: Arc<Mutex<Arc<Queue>>>,
}

struct Open {
    node: String,
    asked: Arc<Mutex<Vec<String>>>,
    queue: Arc<Queue>,
}

impl Kernel for Driver {
    fn open(&self, node: &str, _: OpenFlags, _: &PeerCred) -> Result<Box<dyn Handle>, Errno> {
        let (asked, queue) = (self.asked.clone(), Arc::<Queue>::default());
        *self.queue.lock().unwrap() = queue.clone();
        asked.lock().unwrap().push(format!("open {node}"));
        Ok(Box::new(Open { node: node.into(), asked, queue }))
    }
}

impl Open {
    fn say(&self, got: Got) {
        self.queue.messages.lock().unwrap().push_back(got);
        self.queue.changed.notify_all();
    }

    fn ack(&self, words: &[u32]) {
        let control = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        self.say(Got::Message(Message { high: true, control: Some(control), data: None }));
    }
}

fn data(bytes: &[u8]) -> Got {
    Got::Message(Message { high: false, control: None, data: Some(bytes.to_vec()) })
}

impl Handle for Open {
    fn ioctl(&self, cmd: u32, arg: u64, _: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        match cmd {
            // I_STR, of DLIOCRAW: a link takes it, ipnet does not have to.
            0x5308 => {
                self.asked.lock().unwrap().push("raw".into());
                if self.node.contains("ipnet") { Err(Errno::EINVAL) } else { Ok(0) }
            }
            0x4404 => {
                let mut on = [0; 4];
                mem.copyin(arg, &mut on).map_err(|_| Errno::EFAULT)?;
                let on = i32::from_ne_bytes(on);
                self.asked.lock().unwrap().push(format!("ipnetinfo {on}"));
                match (on, self.node.as_str()) {
                    (2, "/dev/ipnet/new0") => Ok(2),
                    (2, "/dev/ipnet/gone0") => Err(Errno::ENXIO),
                    (2, _) => Err(Errno::EINVAL),
                    _ => Ok(1),
                }
            }
            0x5305 => {
                // What was there before goes; a packet comes.
                self.queue.messages.lock().unwrap().clear();
                self.say(data(b"packet"));
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn messages(&self) -> Option<&dyn Messages> {
        Some(self)
    }
}

impl Messages for Open {
    fn put(&self, m: &Message) -> Result<(), Errno> {
        let words: Vec<u32> = m
            .control
            .as_ref()
            .unwrap()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|w| u32::from_ne_bytes(*w))
            .collect();
        self.asked.lock().unwrap().push(format!("{words:x?}"));
        let mac_type = if self.node.contains("ipnet") { DL_IPNET } else { DL_ETHER };
        // A packet that comes between question and answer.
        self.say(data(b"early"));
        match (words[0], self.node.as_str()) {
            (0, "/dev/ipnet/odd0") => self.ack(&[3, 9]),
            (0, _) => {
                self.ack(&[3, 1500, 0, 2, mac_type, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            (1, "/dev/ipnet/no0") => self.ack(&[5, 1, 4, 13]),
            (1, _) => self.ack(&[4, 0, 0, 24, 0, 0]),
            (n, _) => self.ack(&[6, n]),
        }
        Ok(())
    }

    fn get(&self) -> Result<Got, Errno> {
        Ok(self.queue.messages.lock().unwrap().pop_front().unwrap_or(Got::Nothing))
    }

    fn wait(&self, patience: Duration) {
        let queue = self.queue.messages.lock().unwrap();
        drop(self.queue.changed.wait_timeout_while(queue, patience, |q| q.is_empty()).unwrap());
    }

    fn wake(&self) {
        self.queue.changed.notify_all();
    }
}

struct Host {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    queue: Arc<Mutex<Arc<Queue>>>,
    _server: Server,
}

impl Host {
    fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::from_env_or(Some(dir.path().into()));
        for parent in ["dev/net", "dev/ipnet/zone/z1"] {
            std::fs::create_dir_all(root.path(parent)).unwrap();
        }
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let queue = Arc::<Mutex<Arc<Queue>>>::default();
        let driver = Driver { asked: asked.clone(), queue: queue.clone() };
        let nodes: Vec<_> = NODES.iter().map(|n| (*n, 0o666)).collect();
        let server = Server::start(&root, &nodes, Arc::new(driver)).unwrap();
        Host { dir, asked, queue, _server: server }
    }

    fn open(&self, node: Node<'_>) -> Result<Dlpi, Error> {
        Dlpi::open(&Root::from_env_or(Some(self.dir.path().into())), node)
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

const NET0: Node<'_> = Node::Ipnet { zone: None, interface: "net0" };

#[test]
fn ipnet_is_asked_for_its_header_and_for_everything() {
    let host = Host::new();
    let mut ipnet = host.open(NET0).unwrap();
    assert_eq!(ipnet.mac_type(), DL_IPNET);
    ipnet.watch(true).unwrap();
    let bind = "[1, 0, 0, 2, 0]";
    let [open, two, one] = ["open /dev/ipnet/net0", "ipnetinfo 2", "ipnetinfo 1"];
    assert_eq!(host.asked(), [open, "[0]", "raw", two, one, bind, "[1f, 2]", "[1f, 1]"]);
    // The packets that came before are not seen.
    assert_eq!(ipnet.next(LONG).unwrap(), Next::Packet(b"packet".into(), None));
    assert_eq!(ipnet.next(Duration::ZERO).unwrap(), Next::Nothing);
    let queue = host.queue.lock().unwrap().clone();
    queue.messages.lock().unwrap().push_back(Got::Hangup);
    queue.changed.notify_all();
    assert_eq!(ipnet.next(LONG).unwrap(), Next::Gone);
}

#[test]
fn a_driver_that_can_says_when_it_saw_a_packet() {
    let host = Host::new();
    let mut ipnet = host.open(Node::Ipnet { zone: None, interface: "new0" }).unwrap();
    ipnet.watch(true).unwrap();
    let queue = host.queue.lock().unwrap().clone();
    queue.messages.lock().unwrap().clear();
    for words in [[3, 3, 27, 9, 1, 500_000], [4, 4, 28, 9, 1, 0]] {
        let words = words.into_iter().flat_map(u32::to_ne_bytes).chain(*b"abc");
        queue.messages.lock().unwrap().push_back(data(&words.collect::<Vec<u8>>()));
    }
    queue.changed.notify_all();
    let next = loop {
        match ipnet.next(LONG) {
            // One that the driver sent before its queue was emptied.
            Err(Error::Answer(_)) => {}
            next => break next.unwrap(),
        }
    };
    let stamp = dlpi::Stamp { time: Duration::from_millis(1500), dropped: 9 };
    assert_eq!(next, Next::Packet(b"abc".into(), Some(stamp)));
    assert!(matches!(ipnet.next(LONG), Err(Error::Answer(_))), "shorter than it says");
    let mut gone = host.open(Node::Ipnet { zone: None, interface: "gone0" }).unwrap();
    assert!(matches!(gone.watch(true), Err(Error::Gone)));
}

#[test]
fn a_link_is_raw_and_promiscuous_only_if_that_is_wanted() {
    let host = Host::new();
    let mut link = host.open(Node::Link { zone: None, link: "net0" }).unwrap();
    assert_eq!(link.mac_type(), DL_ETHER);
    link.watch(false).unwrap();
    let bind = "[1, 0, 0, 2, 0]";
    assert_eq!(host.asked(), ["open /dev/net/net0", "[0]", "raw", bind, "[1f, 2]", "[1f, 3]"]);
}

#[test]
fn what_a_driver_refuses_is_told() {
    let host = Host::new();
    let mut refused = host.open(Node::Ipnet { zone: None, interface: "no0" }).unwrap();
    let e = refused.watch(true).unwrap_err().to_string();
    assert_eq!(e, "DL_BIND_REQ is refused: Permission denied");
    let e = host.open(Node::Ipnet { zone: None, interface: "odd0" }).unwrap_err().to_string();
    assert_eq!(e, "the driver does not answer DL_INFO_REQ as DLPI says");
    let e = host.open(Node::Ipnet { zone: None, interface: "none0" }).unwrap_err();
    assert!(matches!(e, Error::Open(_)), "{e}");
    host.open(Node::Ipnet { zone: Some("z1"), interface: "net0" }).unwrap();
}
