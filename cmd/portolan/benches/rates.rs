// SPDX-License-Identifier: CDDL-1.0
//! How fast portolan is, and how large: `cargo bench -p portolan` (`-- 100000` for fewer mappings).
//!
//! The server is a process of its own, and this one asks. Both share the machine, so besides what came through in
//! the time it says what the server's own CPU time would give: lookups per second of one core.

use portolan::record::Host;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use svp::client::{Client, Event, Question};
use svp::message::RouteReq;
use svp::{Body, Id, MacAddr, Message, Uuid, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOSTS: u32 = 1000;
const VNETS: u32 = 50;
const RUN: Duration = Duration::from_secs(4);
/// Routes that leave each network, each for another destination, if there are mappings enough.
const ROUTES: u32 = 1000;

/// What is asked for.
#[derive(Clone, Copy)]
enum Kind {
    Vl2,
    Route,
}

impl Kind {
    /// Bytes of a request, and of its answer.
    fn sizes(self) -> (usize, usize) {
        match self {
            Kind::Vl2 => (28, 36),
            Kind::Route => (56, 64),
        }
    }

    /// Whether an answer is OK.
    fn is_ok(self, ack: &[u8]) -> bool {
        match self {
            Kind::Vl2 => ack[3] == 4 && ack[16..18] == [0; 2],
            Kind::Route => ack[3] == 15 && ack[16..20] == [0; 4],
        }
    }
}

/// Routes of each network: to mappings of the network before it, a /24 each.
fn routes(ports: u32) -> u32 {
    ROUTES.min(ports / 256)
}

struct Server {
    child: Child,
    svp: SocketAddr,
    api: SocketAddr,
}

impl Server {
    fn start(store: &Path) -> (Server, Duration) {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--store"])
            .arg(store)
            .stdout(Stdio::piped())
            .spawn()
            .expect("portolan");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut address = |what: &str| loop {
            let line = lines.next().expect("it runs").expect("text");
            if line.contains(what) {
                let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                break line["addr"].as_str().expect("address").parse().expect("address");
            }
        };
        let (svp, api) = (address("for hosts"), address("for administration"));
        (Server { child, svp, api }, began.elapsed())
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("Linux")
    }

    /// CPU time so far, of all threads.
    fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split(' ').collect();
        let ticks = |n: usize| fields[n].parse::<u64>().expect("ticks");
        // utime and stime, of 100 ticks a second.
        Duration::from_millis((ticks(12) + ticks(13)) * 10)
    }

    /// Resident memory, bytes.
    fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") * 1024
    }

    fn adm(&self, args: &[&str]) -> String {
        let mut cmd = Command::new(env!("CARGO_BIN_EXE_portolanadm"));
        let out = cmd.args(["--url", &format!("http://{}", self.api)]).args(args).output();
        let out = out.expect("portolanadm");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn end(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }
}

fn host(n: u32) -> Uuid {
    Uuid::from_u128(0x1111_4111_8111_0000_0000_0000 + u128::from(n))
}

fn host_ip(n: u32) -> [u8; 4] {
    let [_, _, a, b] = n.to_be_bytes();
    [10, 200, a, b]
}

fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([2, 8, a, b, c, d])
}

fn ip(n: u32) -> Ipv4Addr {
    let [a, b, c, d] = n.to_be_bytes();
    Ipv4Addr::new(10, a * 16 + b, c, d)
}

fn fill(file: &Path, ports: u32) {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file).expect("file"));
    for n in 0..HOSTS {
        let host = Host { id: host(n), ip: host_ip(n).into(), port: 4789 };
        writeln!(out, "{}", json!({"host": host})).expect("room");
    }
    for n in 0..ports {
        let (ip, mac) = (ip(n).to_string(), mac(n).to_string());
        let port = json!({"vnet": n % VNETS, "ip": ip, "mac": mac, "host": host(n % HOSTS)});
        writeln!(out, "{}", json!({"port": port})).expect("room");
    }
    for vnet in 0..VNETS {
        for n in 0..routes(ports) {
            let to = format!("{}/24", ip(n * 256));
            let route = json!({"vnet": vnet, "vlan": 0, "subnet": "10.0.0.0/8", "r_subnet": to, "r_dcid": 1,
                "r_vnet": (vnet + VNETS - 1) % VNETS, "r_vlan": 0, "r_send_mac": "2:8:0:0:0:fe"});
            writeln!(out, "{}", json!({"route": route})).expect("room");
        }
    }
    out.flush().expect("room");
}

/// Requests for any of the mappings, encoded back to back.
fn requests(kind: Kind, count: u32, ports: u32, seed: u32) -> Vec<u8> {
    let ports = match kind {
        Kind::Vl2 => ports,
        Kind::Route => routes(ports) * 256,
    };
    let mut out = Vec::new();
    let mut random = u64::from(seed) * 2 + 1;
    for id in 0..count {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let n = ((random >> 33) % u64::from(ports)) as u32;
        let body = match kind {
            Kind::Vl2 => Body::Vl2Req { mac: mac(n), vnet: n % VNETS },
            Kind::Route => Body::RouteReq(RouteReq {
                vnet: (n + 1) % VNETS,
                vlan: 0,
                src: Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped(),
                dst: ip(n).to_ipv6_mapped(),
            }),
        };
        Message { version: 2, id: Id::from(id), body }.encode(&mut out);
    }
    out
}

/// Asks `window` questions, waits for the answers, and asks again; or every `pace`, if there is one.
async fn asker(
    kind: Kind,
    addr: SocketAddr,
    seed: u32,
    ports: u32,
    window: usize,
    pace: Option<Duration>,
    done: Arc<AtomicU64>,
) -> Vec<Duration> {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    stream.set_nodelay(true).expect("nodelay");
    let all = requests(kind, (window * 16) as u32, ports, seed);
    let (request, ack) = kind.sizes();
    let mut answers = vec![0; window * ack];
    let mut times = Vec::new();
    let began = Instant::now();
    let mut tick = pace.map(tokio::time::interval);
    for batch in all.chunks(window * request).cycle() {
        if began.elapsed() > RUN {
            break;
        }
        if let Some(tick) = &mut tick {
            tick.tick().await;
        }
        let sent = Instant::now();
        stream.write_all(batch).await.expect("write");
        stream.read_exact(&mut answers).await.expect("read");
        times.push(sent.elapsed());
        assert!(answers.chunks(ack).all(|a| kind.is_ok(a)), "an answer is not OK");
        done.fetch_add(window as u64, Ordering::Relaxed);
    }
    times
}

async fn lookups(
    kind: Kind,
    server: &Server,
    ports: u32,
    connections: u32,
    window: usize,
    pace: Option<Duration>,
) {
    let done = Arc::new(AtomicU64::new(0));
    let (cpu, began) = (server.cpu(), Instant::now());
    let ask = |n| asker(kind, server.svp, n, ports, window, pace, Arc::clone(&done));
    let tasks: Vec<_> = (0..connections).map(|n| tokio::spawn(ask(n))).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("asker"));
    }
    let (took, cpu) = (began.elapsed(), server.cpu() - cpu);
    times.sort_unstable();
    let at = |p: usize| times[(times.len() - 1) * p / 100].as_micros();
    let n = done.load(Ordering::Relaxed) as f64;
    println!(
        "{connections:>5} connections, {window:>4} in flight each{}: {:>7.0} lookups/s, \
         {:>7.0} per CPU second of the server, p50 {} us, p99 {} us",
        pace.map_or(String::new(), |p| format!(", every {p:?}")),
        n / took.as_secs_f64(),
        n / cpu.as_secs_f64().max(0.01),
        at(50),
        at(99),
    );
}

/// One host: asks for its log until it has an entry, then removes it.
async fn listener(
    addr: SocketAddr,
    n: u32,
    since: Arc<AtomicU64>,
    start: Instant,
) -> (Duration, Duration) {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let mut client = Client::fixed(Version::V2);
    let ip = std::net::IpAddr::from(host_ip(n));
    let mut ids: Vec<Uuid> = Vec::new();
    let mut seen = None;
    loop {
        let question = match seen {
            None => Question::Log { count: 1024, ip },
            Some(_) => Question::LogRm(std::mem::take(&mut ids)),
        };
        client.ask(&question).expect("asked");
        let bytes = client.output().to_vec();
        stream.write_all(&bytes).await.expect("write");
        client.wrote(bytes.len());
        loop {
            match client.poll().expect("a good server") {
                Some(Event::Reply { body: Ok(Body::LogAck { entries, .. }), .. }) => {
                    ids.extend(entries.iter().map(|e| e.id));
                    break;
                }
                Some(Event::Reply { body: Ok(Body::LogRmAck(_)), .. }) => {
                    let made = Duration::from_nanos(since.load(Ordering::SeqCst));
                    return (seen.unwrap_or(start.elapsed()) - made, start.elapsed() - made);
                }
                Some(other) => panic!("{other:?}"),
                None => {
                    assert!(stream.read_buf(client.buffer()).await.expect("read") > 0);
                }
            }
        }
        match ids.is_empty() {
            // As hosts do, though they wait for seconds.
            true => tokio::time::sleep(Duration::from_millis(500 + u64::from(n) / 2)).await,
            false => seen = Some(start.elapsed()),
        }
    }
}

async fn change(server: &Server) {
    // A network with a guest on each host.
    let file = std::env::temp_dir().join(format!("portolan-rates-{}.jsonl", std::process::id()));
    let lines: String = (0..HOSTS)
        .map(|n| {
            let [_, _, a, b] = n.to_be_bytes();
            let ip = format!("10.0.{a}.{b}");
            let port = json!({"vnet": 999, "ip": ip, "mac": mac(n).to_string(), "host": host(n)});
            format!("{}\n", json!({"port": port}))
        })
        .collect();
    std::fs::write(&file, lines).expect("room");
    server.adm(&["import", "-q", file.to_str().expect("text")]);
    std::fs::remove_file(&file).expect("there");
    let (made, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let listen = |n| tokio::spawn(listener(server.svp, n, Arc::clone(&made), start));
    let hosts: Vec<_> = (0..HOSTS).map(listen).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let to = host(1).to_string();
    let before = start.elapsed();
    let (url, to) = (format!("http://{}", server.api), to);
    let moved = tokio::task::spawn_blocking(move || {
        let mut cmd = Command::new(env!("CARGO_BIN_EXE_portolanadm"));
        cmd.args(["--url", &url, "port", "move", "999", "10.0.0.0", &to]).output()
    });
    made.store(before.as_nanos() as u64, Ordering::SeqCst);
    let out = moved.await.expect("portolanadm").expect("portolanadm");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let (mut seen, mut removed) = (Duration::ZERO, Duration::ZERO);
    for host in hosts {
        let (s, r) = host.await.expect("host");
        (seen, removed) = (seen.max(s), removed.max(r));
    }
    println!(
        "a change, from portolanadm's start: at all {HOSTS} hosts (each polls every 0.5 to 1 s) after {seen:.2?}, \
         removed from all logs after {removed:.2?}"
    );
}

fn main() {
    let given = std::env::args().skip(1).find_map(|a| a.parse().ok());
    let ports: u32 = given.unwrap_or(1_000_000);
    let dir = tempfile::tempdir().expect("directory");
    let (store, file) = (dir.path().join("portolan.redb"), dir.path().join("all.jsonl"));
    fill(&file, ports);
    let (server, _) = Server::start(&store);
    let empty = server.resident();
    let said = server.adm(&["import", "-q", "--batch", "20000", file.to_str().expect("text")]);
    println!("import: {}", said.trim());
    server.end();
    let (server, took) = Server::start(&store);
    let resident = server.resident();
    let each = (resident - empty) as f64 / f64::from(ports);
    let size = std::fs::metadata(&store).expect("there").len();
    println!(
        "start with {ports} mappings after kill -9: {took:.2?}; resident {} MiB, {each:.0} bytes a mapping \
         more than empty; store {} MiB",
        resident >> 20,
        size >> 20
    );
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        lookups(Kind::Vl2, &server, ports, 1, 1, None).await;
        lookups(Kind::Vl2, &server, ports, 1, 512, None).await;
        lookups(Kind::Vl2, &server, ports, 10, 64, None).await;
        lookups(Kind::Vl2, &server, ports, 1000, 8, None).await;
        print!("half of 500 000 a second: ");
        lookups(Kind::Vl2, &server, ports, 10, 25, Some(Duration::from_millis(1))).await;
        let each = routes(ports);
        println!("routes, {each} from each of {VNETS} networks:");
        lookups(Kind::Route, &server, ports, 1, 1, None).await;
        lookups(Kind::Route, &server, ports, 10, 64, None).await;
        change(&server).await;
    });
    server.end();
}
