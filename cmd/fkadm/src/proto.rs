// SPDX-License-Identifier: CDDL-1.0
//! The control protocol's messages, as JSON.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The control socket below a root.
pub const SOCKET: &str = "/var/run/fakekerneld.sock";

/// Longest request line in bytes, its newline included. A longer one ends the connection with an
/// error.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The link name that stands for the host's UDP sockets in a [`Request::Capture`].
pub const UNDERLAY: &str = "underlay";

/// What can be asked. The type of the answer is named with each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// [`Status`].
    Status {},
    /// `Vec<`[`Module`]`>`.
    Modinfo {},
    /// Loads a kernel module: [`Module`].
    Modload(Modload),
    /// Unloads a kernel module: [`Done`].
    Modunload(OfModule),
    /// `Vec<`[`Link`]`>`.
    Links {},
    /// Gives a VNIC to a TAP device: [`Guest`].
    GuestAttachTap(AttachTap),
    /// Gives a VNIC to a host inside the process: [`Guest`].
    GuestAttach(Attach),
    /// Takes a VNIC from its guest: [`Done`].
    GuestDetach(OfLink),
    /// `Vec<`[`Guest`]`>`.
    GuestList {},
    /// Sends echo requests and waits for the answers: [`PingReport`].
    GuestPing(Ping),
    /// Opens a port on which a guest takes streams and checks them: [`Done`].
    GuestTcpServe(TcpServe),
    /// Sends a stream to a guest's open port and waits for its verdict: [`TcpReport`].
    GuestTcpSend(TcpSend),
    /// `Vec<`[`Kstat`]`>`.
    Kstat(KstatFilter),
    /// [`Done`], then a pcapng file until the connection closes.
    Capture(Capture),
    /// What the kernel's checks found so far, a line each: `Vec<String>`.
    Violations {},
    /// Ends fakekerneld in order: [`Done`], at once.
    Shutdown {},
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply<T> {
    /// It was done.
    Ok(T),
    /// It was not, and why.
    Error(String),
}

/// Reads a request from its line. The error is a sentence for the caller.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|e| format!("not a request: {e}"))
}

/// Reads an answer from its line.
pub fn parse_reply<T: DeserializeOwned>(line: &[u8]) -> Result<Reply<T>, serde_json::Error> {
    serde_json::from_slice(line)
}

/// Nothing to tell but that it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// The process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Seconds since it became ready.
    pub uptime_seconds: f64,
    /// Whether the debug checks of the kernel are on.
    pub checks: bool,
}

/// A loaded kernel module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// Number in order of loading.
    pub id: u32,
    /// Such as `drv/overlay`.
    pub name: String,
    /// What the module says of itself.
    pub info: String,
    /// The file it was loaded from; none if it is built in.
    pub file: Option<PathBuf>,
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modload {
    /// Such as `drv/overlay`.
    pub name: String,
    /// A module file for illumos, by its absolute path, to be the module of that name from now on;
    /// by default what has been.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// A module alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfModule {
    /// Such as `drv/overlay`.
    pub name: String,
}

/// A data link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its id.
    pub linkid: u32,
    /// Its name, unless it has none.
    pub name: Option<String>,
    /// `overlay`, `vnic`, ...
    pub class: String,
    /// Its address, such as `2:8:20:aa:0:1`.
    pub mac: String,
    /// Largest payload of a frame in bytes, without the Ethernet header.
    pub mtu: u32,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// The link it lies over, by name if that has one.
    pub over: Option<String>,
}

/// A link alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfLink {
    /// Name or id.
    pub link: String,
}

/// How to attach a TAP device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachTap {
    /// VNIC, by name or id.
    pub link: String,
    /// Name of the TAP device, at most 15 bytes; by default the system chooses.
    #[serde(default)]
    pub tap: Option<String>,
    /// Network namespace to make it in: a name under /run/netns, or a path such as
    /// /proc/1234/ns/net.
    #[serde(default)]
    pub netns: Option<String>,
    /// Addresses to give it, such as `10.0.0.1/24` and `fd00::1/64`.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// How to attach a host inside the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// VNIC, by name or id.
    pub link: String,
    /// Its addresses, such as `10.0.0.1/24` and `fd00::1/64`.
    pub addresses: Vec<String>,
    /// Zone that it is, with an IP of its own; by default its interface is one of the global zone's.
    #[serde(default)]
    pub zone: Option<String>,
    /// Routers on its networks that it sends everything else to, one of each version of IP at most.
    #[serde(default)]
    pub routers: Vec<IpAddr>,
}

/// A guest on a VNIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// Name of the VNIC, or its id if it has no name.
    pub link: String,
    /// Its link id.
    pub linkid: u32,
    /// Its hardware address, which is the VNIC's.
    pub mac: String,
    /// Its addresses, as given.
    pub addresses: Vec<String>,
    /// What it is.
    pub kind: GuestKind,
}

/// The two kinds of guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// A TAP device of this machine.
    Tap {
        /// Its name.
        device: String,
        /// The namespace it is in, unless it is fakekerneld's own.
        netns: Option<String>,
    },
    /// A host in fakekerneld's process.
    Internal {
        /// Streams that came to its open ports and were whole.
        streams_intact: u64,
        /// Streams that were cut short or whose checksum was wrong.
        streams_bad: u64,
        /// Bytes of all of them.
        stream_bytes: u64,
    },
}

/// Echo requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// VNIC of the guest that sends.
    pub link: String,
    /// To whom.
    pub to: IpAddr,
    /// How many.
    #[serde(default = "Ping::default_count")]
    pub count: u32,
    /// Bytes of data in each; the ICMP and IP headers come on top. The first eight, if there are so many, are
    /// the time: nanoseconds since 1970, big-endian.
    #[serde(default = "Ping::default_size")]
    pub size: u16,
    /// Milliseconds from one to the next; 0 sends the next when the last is answered.
    #[serde(default = "Ping::default_interval_ms")]
    pub interval_ms: u32,
    /// Milliseconds to wait for an answer.
    #[serde(default = "Ping::default_timeout_ms")]
    pub timeout_ms: u32,
    /// Routers that may pass each on, 1 to 255: the TTL of IPv4, the hop limit of IPv6.
    #[serde(default = "Ping::default_ttl")]
    pub ttl: u8,
}

impl Ping {
    fn default_count() -> u32 {
        3
    }
    fn default_size() -> u16 {
        56
    }
    fn default_interval_ms() -> u32 {
        1000
    }
    fn default_timeout_ms() -> u32 {
        2000
    }
    fn default_ttl() -> u8 {
        64
    }

    /// Three requests of 56 bytes, one a second, two seconds to answer each.
    pub fn new(link: impl Into<String>, to: IpAddr) -> Ping {
        Ping {
            link: link.into(),
            to,
            count: Self::default_count(),
            size: Self::default_size(),
            interval_ms: Self::default_interval_ms(),
            timeout_ms: Self::default_timeout_ms(),
            ttl: Self::default_ttl(),
        }
    }
}

/// What became of echo requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// Requests sent.
    pub sent: u64,
    /// Answered in time and with the same data.
    pub received: u64,
    /// Answers with other data than was sent.
    pub corrupted: u64,
    /// Round-trip times; zeros if nothing came back.
    pub rtt_us: Rtt,
}

/// Round-trip times in microseconds, from when a request left: asking for a hardware address is not
/// counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rtt {
    /// Shortest.
    pub min: f64,
    /// Mean.
    pub avg: f64,
    /// Longest.
    pub max: f64,
}

/// A port that takes streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpServe {
    /// VNIC of the guest.
    pub link: String,
    /// TCP port. One that is open already stays so.
    pub port: u16,
}

/// A stream to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpSend {
    /// VNIC of the guest that sends.
    pub link: String,
    /// Where a guest serves.
    pub to: SocketAddr,
    /// How many bytes.
    pub bytes: u64,
    /// Which of the pseudo-random streams.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds without any progress after which to give up.
    #[serde(default = "TcpSend::default_stall_ms")]
    pub stall_ms: u32,
}

impl TcpSend {
    fn default_stall_ms() -> u32 {
        10_000
    }

    /// `bytes` bytes of stream 0, given up after ten seconds without progress.
    pub fn new(link: impl Into<String>, to: SocketAddr, bytes: u64) -> TcpSend {
        TcpSend { link: link.into(), to, bytes, seed: 0, stall_ms: Self::default_stall_ms() }
    }
}

/// A stream that arrived whole: both ends counted the same bytes and the same checksum. Anything
/// else is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpReport {
    /// Bytes of the stream.
    pub bytes: u64,
    /// From the first byte sent to the receiver's verdict, in seconds.
    pub seconds: f64,
    /// 10^9 bits a second of stream.
    pub gbps: f64,
    /// CRC-32 of the stream at both ends, in hexadecimal.
    pub checksum: String,
}

/// Which kstats; what is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KstatFilter {
    /// Module.
    #[serde(default)]
    pub module: Option<String>,
    /// Instance.
    #[serde(default)]
    pub instance: Option<i32>,
    /// Name.
    #[serde(default)]
    pub name: Option<String>,
}

/// A set of statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kstat {
    /// Module.
    pub module: String,
    /// Instance.
    pub instance: i32,
    /// Name.
    pub name: String,
    /// Class, such as `net`.
    pub class: String,
    /// Numbers and strings.
    pub data: BTreeMap<String, serde_json::Value>,
}

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// A link, or [`UNDERLAY`].
    pub link: String,
    /// Close after this many packets.
    #[serde(default)]
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_documented() {
        let parse = |s: &str| parse_request(s.as_bytes());
        assert_eq!(parse(r#"{"do":"links"}"#), Ok(Request::Links {}));
        let ping = Ping::new("vnic0", "10.0.0.2".parse().unwrap());
        assert_eq!(
            parse(r#"{"do":"guest-ping","link":"vnic0","to":"10.0.0.2"}"#),
            Ok(Request::GuestPing(ping.clone()))
        );
        let text = serde_json::to_vec(&Request::GuestPing(ping.clone())).unwrap();
        assert_eq!(parse_request(&text), Ok(Request::GuestPing(ping)));
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for bad in [
            "",
            "{}",
            "null",
            "7",
            "[]",
            r#"{"do":"reboot"}"#,
            r#"{"do":"links","link":1}"#,
            r#"{"do":"guest-ping","link":"v0","to":"nowhere"}"#,
            r#"{"do":"guest-ping","link":"v0","to":"::1","size":70000}"#,
            r#"{"do":"kstat","instance":"0"}"#,
            "{\"do\":\"links\"",
            "\u{0}\u{1}",
        ] {
            assert!(parse_request(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse_request(&[0xff; 100]).is_err());
    }

    #[test]
    fn replies() {
        let error: Reply<Done> = Reply::Error("no".into());
        assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"error":"no"}"#);
        assert_eq!(parse_reply::<Done>(br#"{"ok":{}}"#).unwrap(), Reply::Ok(Done {}));
    }
}
