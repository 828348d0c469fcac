// SPDX-License-Identifier: CDDL-1.0
//! The control socket: requests of fkadm, a line each.
//!
//! A connection has a thread of its own. Whatever comes on it costs at most that connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use devctl::Root;
use door::sock::{Listener, Threads};
use fakekernel::host::{self, Kernel};
use fakekernel::kstat;
use fakekernel::net::capture::Point;
use fkadm::proto::{
    self, Done, Kstat, KstatFilter, MAX_REQUEST, Modload, Module, Reply, Request, Status,
};
use libdladm::dlmgmt::Table;
use rustix::net::SocketType;
use serde::Serialize;

use crate::guest::Guests;
use crate::ip::Ip;
use crate::{capture, links, modules};

/// Connections at a time; further ones are told so.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to read an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the requests are about.
pub struct Host {
    kernel: Arc<Kernel>,
    names: Arc<Mutex<Table>>,
    guests: Guests,
    end: Mutex<Sender<()>>,
    start: Instant,
}

impl Host {
    /// `end` is told when a client asks for the end.
    pub fn new(
        kernel: Arc<Kernel>,
        names: Arc<Mutex<Table>>,
        ip: Arc<Ip>,
        end: Sender<()>,
    ) -> Host {
        let guests = Guests::new(ip);
        Host { kernel, names, guests, end: Mutex::new(end), start: Instant::now() }
    }
}

/// Serves the control socket.
pub struct Server {
    threads: Threads,
    host: Arc<Host>,
}

impl Server {
    /// Creates the socket under `root`.
    pub fn start(root: &Root, host: Host) -> Result<Server> {
        let listener = Listener::bind(&root.path(proto::SOCKET), SocketType::STREAM, 0o600)?;
        let host = Arc::new(host);
        let served = Arc::clone(&host);
        // However a connection ends, that concerns nobody else.
        let serve = move |s: UnixStream| drop(served.connection(s));
        let refuse = |mut s: UnixStream| {
            drop(answer(&mut s, &Reply::<Done>::Error("too many connections".into())));
        };
        let threads = Threads::start(listener, MAX_CONNECTIONS, Arc::new(serve), Arc::new(refuse))?;
        Ok(Server { threads, host })
    }

    /// Ends connections and guests. When this returns nobody holds the kernel any more.
    pub fn stop(self) {
        // First what connections may be waiting for.
        self.host.guests.close();
        drop(self.threads);
    }
}

fn answer<T: Serialize>(to: &mut UnixStream, reply: &Reply<T>) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Writes a result as an answer.
fn result<T: Serialize>(to: &mut UnixStream, result: Result<T, String>) -> io::Result<()> {
    answer(to, &result.map_or_else(Reply::Error, Reply::Ok))
}

impl Host {
    fn connection(&self, mut to: UnixStream) -> io::Result<()> {
        to.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut from = BufReader::new(to.try_clone()?);
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut from).take(MAX_REQUEST as u64).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                if line.len() >= MAX_REQUEST {
                    let e = format!("a request has at most {MAX_REQUEST} bytes");
                    answer(&mut to, &Reply::<Done>::Error(e))?;
                }
                return Ok(());
            }
            match proto::parse_request(&line) {
                Ok(Request::Capture(c)) => match self.point(&c.link) {
                    Ok(point) => {
                        answer(&mut to, &Reply::Ok(Done {}))?;
                        return capture::write(point, c.link, c.count, &mut to);
                    }
                    Err(e) => answer(&mut to, &Reply::<Done>::Error(e))?,
                },
                Ok(request) => self.serve(request, &mut to)?,
                Err(e) => answer(&mut to, &Reply::<Done>::Error(e))?,
            }
        }
    }

    fn serve(&self, request: Request, to: &mut UnixStream) -> io::Result<()> {
        match request {
            Request::Status {} => result(to, Ok(self.status())),
            Request::Modinfo {} => result(to, Ok(self.modules())),
            Request::Modload(m) => result(to, self.modload(m)),
            Request::Modunload(m) => {
                let done = self.kernel.modunload(&m.name).map_err(|e| format!("{}: {e}", m.name));
                result(to, done.map(|()| Done {}))
            }
            Request::Links {} => result(to, Ok(links::list(&links::lock(&self.names)))),
            Request::GuestAttachTap(a) => {
                result(to, self.vnic(&a.link).and_then(|v| self.guests.attach_tap(v, a)))
            }
            Request::GuestAttach(a) => {
                result(to, self.vnic(&a.link).and_then(|v| self.guests.attach(v, a)))
            }
            Request::GuestDetach(l) => {
                result(to, self.find(&l.link).and_then(|id| self.guests.detach(id, &l.link)))
            }
            Request::GuestList {} => result(to, Ok(self.guests.list())),
            Request::GuestPing(p) => {
                let guest = self.find(&p.link).and_then(|id| self.guests.internal(id, &p.link));
                result(to, guest.and_then(|g| g.ping(p)))
            }
            Request::GuestTcpServe(s) => {
                let guest = self.find(&s.link).and_then(|id| self.guests.internal(id, &s.link));
                result(to, guest.and_then(|g| g.serve(s.port)).map(|()| Done {}))
            }
            Request::GuestTcpSend(s) => {
                let guest = self.find(&s.link).and_then(|id| self.guests.internal(id, &s.link));
                result(to, guest.and_then(|g| g.send(s)))
            }
            Request::Kstat(filter) => result(to, Ok(kstats(&filter))),
            Request::Violations {} => {
                let found = host::violations().iter().map(ToString::to_string).collect::<Vec<_>>();
                result(to, Ok(found))
            }
            Request::Shutdown {} => {
                answer(to, &Reply::Ok(Done {}))?;
                let _ = links::lock(&self.end).send(());
                Ok(())
            }
            // It takes the connection over, so it is not one of these.
            Request::Capture(_) => Ok(()),
        }
    }

    fn find(&self, link: &str) -> Result<u32, String> {
        links::find(&links::lock(&self.names), link)
    }

    /// Id and name of a link.
    fn vnic(&self, link: &str) -> Result<(u32, String), String> {
        let names = links::lock(&self.names);
        let id = links::find(&names, link)?;
        Ok((id, links::name(&names, id)))
    }

    fn point(&self, link: &str) -> Result<Point, String> {
        if link == proto::UNDERLAY {
            return Ok(Point::Underlay);
        }
        let id = self.find(link)?;
        if fakekernel::net::links().iter().any(|l| l.linkid == id) {
            Ok(Point::Link(id))
        } else {
            Err(format!("{link}: there is no such link"))
        }
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.start.elapsed().as_secs_f64(),
            checks: fakekernel::check::debug(),
        }
    }

    fn modload(&self, m: Modload) -> Result<Module, String> {
        match m.file {
            Some(file) => modules::load_new(&self.kernel, &krtld::Module::new(&*m.name, file)),
            None => {
                let loaded = self.kernel.modload(&m.name);
                loaded.map(drop).map_err(|e| format!("{}: {e}", m.name))
            }
        }?;
        let loaded = self.modules().into_iter().find(|l| l.name == m.name);
        loaded.ok_or_else(|| format!("{} was unloaded at once", m.name))
    }

    fn modules(&self) -> Vec<Module> {
        let show = |m: host::ModInfo| Module {
            id: m.id as u32,
            name: m.name,
            info: m.description,
            file: m.file,
        };
        self.kernel.modinfo().into_iter().map(show).collect()
    }
}

fn kstats(f: &KstatFilter) -> Vec<Kstat> {
    let show = |k: kstat::Kstat| {
        let value = |v: kstat::Value| match v {
            kstat::Value::I32(n) => n.into(),
            kstat::Value::U32(n) => n.into(),
            kstat::Value::I64(n) => n.into(),
            kstat::Value::U64(n) => n.into(),
            kstat::Value::Str(s) => s.into(),
        };
        let mut data: BTreeMap<String, serde_json::Value> =
            k.data.into_iter().map(|(name, v)| (name, value(v))).collect();
        let seconds = |ns: i64| (ns as f64 / 1e9).into();
        data.insert("class".into(), k.class.clone().into());
        data.insert("crtime".into(), seconds(k.crtime));
        data.insert("snaptime".into(), seconds(k.snaptime));
        Kstat { module: k.module, instance: k.instance, name: k.name, class: k.class, data }
    };
    let mut all: Vec<_> = kstat::read(f.module.as_deref(), f.instance, f.name.as_deref())
        .into_iter()
        .map(show)
        .collect();
    all.sort_by(|a, b| (&a.module, a.instance, &a.name).cmp(&(&b.module, b.instance, &b.name)));
    all
}
