// SPDX-License-Identifier: CDDL-1.0
//! A directory for tests: it knows what it is told, and behaves as badly as it is told.
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use svp::log::{Entry, Named};
use svp::message::Underlay;
use svp::server::{Request, Server};
use svp::{MacAddr, Status, Uuid};

/// How it behaves towards each new connection, and each new request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Good,
    /// It closes what it accepts.
    Closes,
    /// It reads, and says nothing.
    Silent,
    /// It answers the first message and closes its side at the next.
    HalfCloses,
    /// It says what is no message.
    Raves,
    /// It announces the longest message there can be, and never ends it.
    Promises,
}

/// What it knows and has seen.
#[derive(Default)]
pub struct Known {
    /// How it behaves.
    pub manner: Manner,
    /// Hosts of guests.
    pub vl2: HashMap<(u32, MacAddr), SocketAddr>,
    /// Guests by address.
    pub vl3: HashMap<(u32, IpAddr), (MacAddr, SocketAddr)>,
    /// What every host is to be told, until it has removed it.
    pub log: Vec<Named>,
    /// Connections accepted.
    pub accepted: usize,
    /// Requests, except for the log.
    pub asked: usize,
    /// Who asked for a log.
    pub readers: Vec<Ipv6Addr>,
    open: Vec<TcpStream>,
}

/// A listening directory. Its threads end with the test.
pub struct Directory {
    known: Arc<Mutex<Known>>,
    /// Where it listens.
    pub addr: SocketAddr,
}

impl Directory {
    pub fn start() -> Directory {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (known, addr) = (Arc::<Mutex<Known>>::default(), listener.local_addr().unwrap());
        let shared = Arc::clone(&known);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, known) = (stream.unwrap(), Arc::clone(&shared));
                let mut all = known.lock().unwrap();
                all.accepted += 1;
                all.open.push(stream.try_clone().unwrap());
                if all.manner != Manner::Closes {
                    drop(all);
                    std::thread::spawn(move || serve(stream, &known));
                } else {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        });
        Directory { known, addr }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Guest `n` of a network is at a host, with its addresses 10.1.0.n and fd00::n.
    pub fn put(&self, vnet: u32, n: u8, at: &str) {
        let (mac, at) = (mac(n), at.parse().unwrap());
        let mut known = self.known();
        known.vl2.insert((vnet, mac), at);
        for ip in [v4(n), v6(n)] {
            known.vl3.insert((vnet, ip), (mac, at));
        }
    }

    /// Something has changed.
    pub fn tell(&self, entry: Entry) {
        let mut known = self.known();
        let id = Uuid::from_u128(known.log.len() as u128 + 1);
        known.log.push(Named { id, entry });
    }

    /// Behaves so from now on, towards connections that are open as well: those end.
    pub fn behave(&self, manner: Manner) {
        let mut known = self.known();
        known.manner = manner;
        for stream in known.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

pub fn mac(n: u8) -> MacAddr {
    MacAddr([2, 8, 0x20, 0, 0, n])
}

pub fn v4(n: u8) -> IpAddr {
    IpAddr::from([10, 1, 0, n])
}

pub fn v6(n: u8) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)])
}

fn underlay(at: SocketAddr) -> Underlay {
    Underlay { ip: overlay_abi::ids::mapped(at.ip()).into(), port: at.port() }
}

/// Serves a connection until it ends; the error is of no interest.
fn serve(mut stream: TcpStream, known: &Mutex<Known>) -> Option<()> {
    let mut server = Server::default();
    let mut buf = [0; 4096];
    let mut answered = 0;
    loop {
        let n = match stream.read(&mut buf) {
            Ok(0) => return None,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        };
        server.buffer().extend_from_slice(&buf[..n]);
        let mut out = Vec::new();
        let mut known = known.lock().unwrap();
        while let Some(asked) = server.next().ok()? {
            match known.manner {
                Manner::Silent => continue,
                Manner::HalfCloses if answered > 0 => {
                    let _ = stream.shutdown(Shutdown::Write);
                    continue;
                }
                Manner::Raves => out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                // The header of a PONG of 64 KiB, under the id of no question.
                Manner::Promises => {
                    out.extend_from_slice(&[0, 2, 0, 2, 0, 1, 0, 0, 9, 9, 9, 9, 0, 0, 0, 0]);
                    out.resize(out.len() + 1000, 0);
                }
                _ => answer(&mut known, asked.token, asked.request, &mut out),
            }
            answered += 1;
        }
        drop(known);
        stream.write_all(&out).ok()?;
        // So that a host that is hit in a loop is not hit too often.
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn answer(known: &mut Known, token: svp::server::Token, request: Request<'_>, out: &mut Vec<u8>) {
    match request {
        Request::Ping => token.pong(out),
        Request::Vl2 { mac, vnet } => {
            known.asked += 1;
            let at = known.vl2.get(&(vnet, mac)).map(|at| underlay(*at));
            token.vl2(out, at.ok_or(Status::NOTFOUND));
        }
        Request::Vl3 { ip, vnet, .. } => {
            known.asked += 1;
            let ip = IpAddr::V6(ip).to_canonical();
            let found = known.vl3.get(&(vnet, ip)).map(|(mac, at)| (*mac, underlay(*at)));
            token.vl3(out, found.ok_or(Status::NOTFOUND));
        }
        Request::Log { ip, .. } => {
            known.readers.push(ip);
            token.log(out, Status::OK, known.log.iter().take(16).copied());
        }
        Request::LogRm(ids) => {
            let ids: Vec<Uuid> = ids.iter().collect();
            known.log.retain(|named| !ids.contains(&named.id));
            token.log_rm(out, Status::OK);
        }
        Request::Bulk { kind } => token.bad_bulk(out, kind),
        Request::Route(_) => token.route(out, Err(Status::NOTFOUND)),
    }
}
