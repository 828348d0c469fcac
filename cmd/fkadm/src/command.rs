// SPDX-License-Identifier: CDDL-1.0
//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use devctl::Root;
use serde::Serialize;

use crate::client::Client;
use crate::proto::{
    Attach, AttachTap, Capture, Guest, GuestKind, Kstat, KstatFilter, Link, Module, Ping,
    PingReport, Rtt, TcpReport, TcpSend,
};

/// Administer a fakekerneld: the overlay kernel modules that run in a process.
#[derive(Parser)]
#[command(name = "fkadm", version, max_term_width = 100)]
struct Cli {
    /// Root directory of the host [default: $OVERLAY_ROOT, else $XDG_RUNTIME_DIR/illumos-overlay,
    /// else /tmp/illumos-overlay-UID]
    #[arg(short = 'R', long = "root", global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(short = 'j', long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the process: its id, how long it runs, whether its checks are on
    Status,
    /// List the loaded kernel modules
    Modinfo,
    /// Load a kernel module
    Modload {
        /// Such as drv/overlay; with a file, that is the module of this name from now on
        #[arg(value_name = "NAME[=FILE]")]
        module: String,
    },
    /// Unload a kernel module, unless it is in use
    Modunload {
        /// Such as drv/overlay
        name: String,
    },
    /// List the data links
    Links,
    /// Give VNICs to guests and let those send
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Print kernel statistics
    Kstat {
        /// One statistic a line: module:instance:name:statistic, a tab, the value
        #[arg(short)]
        parsable: bool,
        /// In the text format of Prometheus: the numbers only
        #[arg(short, long, conflicts_with = "parsable")]
        metrics: bool,
        /// What to print; an empty part matches all
        #[arg(
            value_name = "MODULE[:INSTANCE[:NAME[:STATISTIC]]]",
            value_parser = Selector::parse,
            default_value = ""
        )]
        selector: Selector,
    },
    /// Write what passes a link to a pcapng file, until interrupted
    #[command(after_help = "A VNIC's or overlay's file has Ethernet frames. The underlay's has \
        raw IP packets: the UDP payload is what was sent, the IP and UDP headers are made up from \
        the socket's addresses.")]
    Capture {
        /// Link name or id, or "underlay"
        link: String,
        /// File to write; - is the standard output
        #[arg(short = 'w', value_name = "FILE")]
        file: PathBuf,
        /// End after this many packets
        #[arg(short, value_name = "N")]
        count: Option<u64>,
    },
    /// Print what the kernel's debug checks found; exit status 1 if that is anything
    Violations,
    /// End the process in order, and wait until it has ended
    Shutdown,
}

#[derive(Subcommand)]
enum GuestCommand {
    /// Give a VNIC to a new TAP device of this machine (needs CAP_NET_ADMIN)
    AttachTap {
        /// VNIC, by name or id
        link: String,
        /// Name of the device [default: chosen by the system]
        #[arg(long, value_name = "DEVICE")]
        tap: Option<String>,
        /// Network namespace to make it in: a name of ip-netns(8), or a path
        #[arg(long, value_name = "NETNS")]
        netns: Option<String>,
        /// Address to give it; may be repeated
        #[arg(short, long = "address", value_name = "ADDRESS/PREFIX")]
        addresses: Vec<String>,
    },
    /// Give a VNIC to a small IP host inside fakekerneld (no privilege needed)
    Attach {
        /// VNIC, by name or id
        link: String,
        /// Its addresses
        #[arg(value_name = "ADDRESS/PREFIX", required = true)]
        addresses: Vec<String>,
        /// Zone that it is, with an IP of its own [default: its interface is the global zone's]
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Router on one of its networks, for what is on none; one of IPv4 and one of IPv6 at most
        #[arg(long = "router", value_name = "ADDRESS")]
        routers: Vec<IpAddr>,
    },
    /// Take a VNIC from its guest
    Detach {
        /// VNIC, by name or id
        link: String,
    },
    /// List the guests
    List,
    /// Ping from a guest inside fakekerneld; exit status 1 if an answer is missing
    Ping(PingArgs),
    /// Move a checked TCP stream between two guests inside fakekerneld
    #[command(subcommand)]
    Tcp(TcpCommand),
}

#[derive(Args)]
struct PingArgs {
    /// VNIC of the guest that sends
    link: String,
    /// Address to ping
    to: IpAddr,
    /// How many requests
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Bytes of data in each
    #[arg(short, long, default_value_t = 56)]
    size: u16,
    /// Milliseconds between two; 0 sends each when the last is answered
    #[arg(short, long, default_value_t = 1000, value_name = "MS")]
    interval: u32,
    /// Milliseconds to wait for an answer
    #[arg(short = 'W', long, default_value_t = 2000, value_name = "MS")]
    timeout: u32,
    /// Routers that may pass each on
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
}

#[derive(Subcommand)]
enum TcpCommand {
    /// Take streams on a port and check them; returns at once, the guest goes on
    Serve {
        /// VNIC of the guest
        link: String,
        /// TCP port
        #[arg(short, long, default_value_t = 5001, value_parser = port())]
        port: u16,
    },
    /// Send a stream to a guest that serves; exit status 1 unless it arrives whole
    Send {
        /// VNIC of the guest that sends
        link: String,
        /// Address of the guest that serves
        to: IpAddr,
        /// Its TCP port
        #[arg(short, long, default_value_t = 5001, value_parser = port())]
        port: u16,
        /// How many bytes; K, M and G are powers of 1024
        #[arg(short = 'n', long, default_value = "64M", value_parser = parse_bytes)]
        bytes: u64,
        /// Which of the pseudo-random streams
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

fn parse_bytes(s: &str) -> Result<u64, String> {
    let (digits, shift) = match s.as_bytes().last() {
        Some(b'k' | b'K') => (&s[..s.len() - 1], 10),
        Some(b'm' | b'M') => (&s[..s.len() - 1], 20),
        Some(b'g' | b'G') => (&s[..s.len() - 1], 30),
        _ => (s, 0),
    };
    let n: u64 = digits.parse().map_err(|_| format!("{s:?} is not a number of bytes"))?;
    n.checked_mul(1 << shift).ok_or_else(|| format!("{s} is too large"))
}

/// module:instance:name:statistic, where a part may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selector {
    filter: KstatFilter,
    statistic: Option<String>,
}

impl Selector {
    fn parse(s: &str) -> Result<Selector, String> {
        let mut parts = s.splitn(4, ':').map(|p| Some(p).filter(|p| !p.is_empty()));
        let mut next = || parts.next().flatten().map(str::to_owned);
        let module = next();
        let instance = next()
            .map(|i| i.parse().map_err(|_| format!("instance {i:?} is not a number")))
            .transpose()?;
        Ok(Selector { filter: KstatFilter { module, instance, name: next() }, statistic: next() })
    }
}

/// Runs fkadm with the arguments of a command line, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(e.exit_code() as u8);
        }
    };
    match run(cli) {
        Ok(good) => ExitCode::from(u8::from(!good)),
        // Who reads our output has had enough.
        Err(e) if is_broken_pipe(&*e) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("fkadm: {e}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(e: &(dyn std::error::Error + 'static)) -> bool {
    e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Whether what was found is good: it is the exit status.
fn run(cli: Cli) -> Result<bool, Box<dyn std::error::Error>> {
    let root = Root::from_env_or(cli.root);
    let mut client = Client::open(&root)?;
    let mut out = Output { json: cli.json, to: io::stdout().lock() };
    match cli.command {
        Command::Status => {
            let s = client.status()?;
            out.put(&s, |w| {
                let checks = if s.checks { "debug" } else { "off" };
                writeln!(
                    w,
                    "fakekerneld {}: pid {}, running {:.0} s, checks {checks}",
                    s.version, s.pid, s.uptime_seconds
                )
            })?;
        }
        Command::Modinfo => {
            let modules = client.modinfo()?;
            out.put(&modules, |w| {
                table(w, &["ID", "MODULE", "INFO", "FILE"], modules.iter().map(module_row))
            })?;
        }
        Command::Modload { module } => {
            let (name, file) = match module.split_once('=') {
                Some((name, file)) => (name, Some(Path::new(file))),
                None => (&*module, None),
            };
            let loaded = client.modload(name, file)?;
            out.put(&loaded, |w| {
                table(w, &["ID", "MODULE", "INFO", "FILE"], [module_row(&loaded)].into_iter())
            })?;
        }
        Command::Modunload { name } => client.modunload(&name)?,
        Command::Links => {
            let links = client.links()?;
            let head = ["LINKID", "LINK", "CLASS", "MTU", "STATE", "MAC", "OVER"];
            out.put(&links, |w| table(w, &head, links.iter().map(link_row)))?;
        }
        Command::Guest(command) => return guest(command, &mut client, &mut out),
        Command::Kstat { parsable, metrics, selector } => {
            let form = match (parsable, metrics) {
                (true, _) => KstatForm::Parsable,
                (_, true) => KstatForm::Metrics,
                _ => KstatForm::Blocks,
            };
            kstat(&mut client, &mut out, form, selector)?;
        }
        Command::Capture { link, file, count } => {
            let reader = client.capture(Capture { link, count })?;
            return capture(reader, file);
        }
        Command::Violations => {
            let found = client.violations()?;
            out.put(&found, |w| found.iter().try_for_each(|v| writeln!(w, "{v}")))?;
            return Ok(found.is_empty());
        }
        Command::Shutdown => client.shutdown()?,
    }
    Ok(true)
}

fn guest(
    command: GuestCommand,
    client: &mut Client,
    out: &mut Output<impl Write>,
) -> Result<bool, Box<dyn std::error::Error>> {
    let guests = match command {
        GuestCommand::AttachTap { link, tap, netns, addresses } => {
            vec![client.guest_attach_tap(AttachTap { link, tap, netns, addresses })?]
        }
        GuestCommand::Attach { link, addresses, zone, routers } => {
            vec![client.guest_attach_as(Attach { link, addresses, zone, routers })?]
        }
        GuestCommand::Detach { link } => {
            client.guest_detach(&link)?;
            return Ok(true);
        }
        GuestCommand::List => client.guests()?,
        GuestCommand::Ping(a) => {
            let (to, count) = (a.to, a.count);
            let ping = Ping {
                link: a.link,
                to,
                count,
                size: a.size,
                interval_ms: a.interval,
                timeout_ms: a.timeout,
                ttl: a.ttl,
            };
            let report = client.guest_ping(ping)?;
            out.put(&report, |w| ping_text(w, to, &report))?;
            return Ok(report.received == report.sent && report.corrupted == 0);
        }
        GuestCommand::Tcp(TcpCommand::Serve { link, port }) => {
            client.guest_tcp_serve(&link, port)?;
            return Ok(true);
        }
        GuestCommand::Tcp(TcpCommand::Send { link, to, port, bytes, seed }) => {
            let send = TcpSend { seed, ..TcpSend::new(link, SocketAddr::new(to, port), bytes) };
            let report = client.guest_tcp_send(send)?;
            out.put(&report, |w| tcp_text(w, &report))?;
            return Ok(true);
        }
    };
    let head = ["LINK", "KIND", "MAC", "ADDRESSES"];
    out.put(&guests, |w| table(w, &head, guests.iter().map(guest_row)))?;
    Ok(true)
}

/// Where answers go, and in which form.
struct Output<W> {
    json: bool,
    to: W,
}

impl<W: Write> Output<W> {
    fn put<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.json {
            serde_json::to_writer_pretty(&mut self.to, value)?;
            writeln!(self.to)
        } else {
            text(&mut self.to)
        }
    }
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(
    w: &mut impl Write,
    head: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    for row in &rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(w, "{}", line.trim_end())?;
    }
    Ok(())
}

fn module_row(m: &Module) -> [String; 4] {
    let file = m.file.as_ref().map_or_else(|| "--".into(), |f| f.display().to_string());
    [m.id.to_string(), m.name.clone(), m.info.clone(), file]
}

fn link_row(l: &Link) -> [String; 7] {
    let or_none = |s: &Option<String>| s.clone().unwrap_or_else(|| "--".into());
    [
        l.linkid.to_string(),
        or_none(&l.name),
        l.class.clone(),
        l.mtu.to_string(),
        l.state.clone(),
        l.mac.clone(),
        or_none(&l.over),
    ]
}

fn guest_row(g: &Guest) -> [String; 4] {
    let kind = match &g.kind {
        GuestKind::Tap { device, netns: Some(ns) } => format!("tap {device} in {ns}"),
        GuestKind::Tap { device, netns: None } => format!("tap {device}"),
        GuestKind::Internal { .. } => "internal".into(),
    };
    [g.link.clone(), kind, g.mac.clone(), g.addresses.join(",")]
}

fn ping_text(w: &mut impl Write, to: IpAddr, r: &PingReport) -> io::Result<()> {
    writeln!(w, "{to}: {} sent, {} received, {} lost", r.sent, r.received, r.sent - r.received)?;
    if r.corrupted > 0 {
        writeln!(w, "{} answers had other data than was sent", r.corrupted)?;
    }
    if r.received > 0 {
        let Rtt { min, avg, max } = r.rtt_us;
        writeln!(w, "round trip min/avg/max {min:.0}/{avg:.0}/{max:.0} us")?;
    }
    Ok(())
}

fn tcp_text(w: &mut impl Write, r: &TcpReport) -> io::Result<()> {
    writeln!(
        w,
        "{} bytes in {:.3} s, {:.3} Gb/s, arrived whole (CRC-32 {})",
        r.bytes, r.seconds, r.gbps, r.checksum
    )
}

/// How statistics are printed.
#[derive(Clone, Copy)]
enum KstatForm {
    /// A block each, as kstat(8) has it.
    Blocks,
    /// A line for each value.
    Parsable,
    /// For Prometheus.
    Metrics,
}

fn kstat(
    client: &mut Client,
    out: &mut Output<impl Write>,
    form: KstatForm,
    selector: Selector,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stats = client.kstat(selector.filter)?;
    if let Some(wanted) = &selector.statistic {
        for s in &mut stats {
            s.data.retain(|name, _| name == wanted);
        }
        stats.retain(|s| !s.data.is_empty());
    }
    out.put(&stats, |w| match form {
        KstatForm::Blocks => stats.iter().try_for_each(|s| kstat_block(w, s)),
        KstatForm::Parsable => stats.iter().try_for_each(|s| kstat_lines(w, s)),
        KstatForm::Metrics => metrics(w, &stats),
    })?;
    Ok(())
}

fn value_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(s) => s.clone(),
        v => v.to_string(),
    }
}

fn kstat_block(w: &mut impl Write, s: &Kstat) -> io::Result<()> {
    writeln!(w, "module: {:<30}  instance: {:<6}", s.module, s.instance)?;
    writeln!(w, "name:   {:<30}  class:    {}", s.name, s.class)?;
    for (name, value) in &s.data {
        writeln!(w, "\t{name:<30}  {}", value_text(value))?;
    }
    writeln!(w)
}

fn kstat_lines(w: &mut impl Write, s: &Kstat) -> io::Result<()> {
    s.data.iter().try_for_each(|(name, value)| {
        writeln!(w, "{}:{}:{}:{name}\t{}", s.module, s.instance, s.name, value_text(value))
    })
}

/// All values of a metric must stand together, so the statistic comes before who has it.
fn metrics(w: &mut impl Write, stats: &[Kstat]) -> io::Result<()> {
    let word = |s: &str| s.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for s in stats {
        let name = s.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (statistic, value) in s.data.iter().filter(|(_, v)| v.is_number()) {
            let metric = format!("illumos_{}_{}", word(&s.module), word(statistic));
            let line = format!("{metric}{{instance=\"{}\",name=\"{name}\"}} {value}", s.instance);
            all.entry(metric).or_default().push(line);
        }
    }
    all.into_values().flatten().try_for_each(|line| writeln!(w, "{line}"))
}

/// Copies the pcapng stream as it comes: an interrupted file lacks at most a part of its last packet.
fn capture(mut from: impl Read, file: PathBuf) -> Result<bool, Box<dyn std::error::Error>> {
    let mut to: Box<dyn Write> = if file.as_os_str() == "-" {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err("the packets are binary: redirect the standard output".into());
        }
        Box::new(stdout.lock())
    } else {
        let f = File::create(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Box::new(f)
    };
    let mut buf = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buf)? {
            0 => return Ok(true),
            n => {
                to.write_all(&buf[..n])?;
                to.flush()?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn selectors() {
        let parse = |s| Selector::parse(s).unwrap();
        assert_eq!(parse(""), Selector::default());
        let s = parse("overlay:0:vx0:opackets");
        assert_eq!(s.filter.module.as_deref(), Some("overlay"));
        assert_eq!(s.filter.instance, Some(0));
        assert_eq!(s.filter.name.as_deref(), Some("vx0"));
        assert_eq!(s.statistic.as_deref(), Some("opackets"));
        assert_eq!(
            parse("::vx0").filter,
            KstatFilter { name: Some("vx0".into()), ..Default::default() }
        );
        assert!(Selector::parse("overlay:x").is_err());
    }

    #[test]
    fn metrics_of_one_name_stand_together() {
        let stat = |name: &str, n: u64| Kstat {
            module: "overlay".into(),
            instance: 0,
            name: name.into(),
            class: "net".into(),
            data: [("a-b", n.into()), ("opackets", (n + 1).into()), ("text", "x".into())]
                .map(|(name, v): (_, serde_json::Value)| (name.to_owned(), v))
                .into(),
        };
        let mut out = Vec::new();
        metrics(&mut out, &[stat("ov0", 1), stat("a\"b\\", 5)]).unwrap();
        let expected = "illumos_overlay_a_b{instance=\"0\",name=\"ov0\"} 1\n\
                        illumos_overlay_a_b{instance=\"0\",name=\"a\\\"b\\\\\"} 5\n\
                        illumos_overlay_opackets{instance=\"0\",name=\"ov0\"} 2\n\
                        illumos_overlay_opackets{instance=\"0\",name=\"a\\\"b\\\\\"} 6\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("17"), Ok(17));
        assert_eq!(parse_bytes("64M"), Ok(64 << 20));
        assert_eq!(parse_bytes("1g"), Ok(1 << 30));
        for bad in ["", "M", "-1", "1T", "99999999999G", "1é"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tables_line_up() {
        let mut out = Vec::new();
        let rows = [["1", "overlay0", "up"], ["22", "v0", ""]].map(|r| r.map(str::to_owned));
        table(&mut out, &["ID", "LINK", "STATE"], rows.into_iter()).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ID  LINK      STATE\n1   overlay0  up\n22  v0\n"
        );
    }
}
