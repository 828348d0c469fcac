// SPDX-License-Identifier: CDDL-1.0
//! From words to a filter, by recursive descent.

use super::{Error, Filter, Names, Net, Protocol, Side, Test};
use overlay_abi::ids::MacAddr;
use std::iter::Peekable;
use std::net::IpAddr;
use std::str::FromStr;
use std::vec::IntoIter;

/// Deepest nesting of parentheses and "not"; more is an error, not the end of the stack.
const DEEPEST: usize = 100;

/// Words that begin something else than the name of a host.
const RESERVED: &[&str] = &["and", "or", "not", "!", "(", ")", ","];

pub(super) fn filter(text: &str, names: &dyn Names) -> Result<Filter, Error> {
    let mut parser = Parser { words: words(text).into_iter().peekable(), names, depth: 0 };
    if parser.words.peek().is_none() {
        return Ok(Filter::And(Vec::new()));
    }
    let filter = parser.or()?;
    match parser.words.next() {
        None => Ok(filter),
        at => Err(Error { why: "\"and\", \"or\" or the end expected".into(), at }),
    }
}

/// Words are between blanks; parentheses, `!` and commas are words of their own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        for word in part.split_inclusive(['(', ')', '!', ',']) {
            match word.char_indices().next_back() {
                Some((at, c)) if "()!,".contains(c) => {
                    let (word, mark) = word.split_at(at);
                    words.extend([word, mark].map(str::to_owned));
                }
                _ => words.push(word.to_owned()),
            }
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

struct Parser<'a> {
    words: Peekable<IntoIter<String>>,
    names: &'a dyn Names,
    depth: usize,
}

impl Parser<'_> {
    fn next_is(&mut self, any: &[&str]) -> bool {
        self.words.next_if(|w| any.contains(&w.as_str())).is_some()
    }

    fn or(&mut self) -> Result<Filter, Error> {
        let mut any = vec![self.and()?];
        while self.next_is(&["or", ","]) {
            any.push(self.and()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Filter::Or(any) })
    }

    fn and(&mut self) -> Result<Filter, Error> {
        let mut all = vec![self.not()?];
        loop {
            let said = self.next_is(&["and"]);
            let more = self.words.peek().is_some_and(|w| !["or", ",", ")"].contains(&w.as_str()));
            if !said && !more {
                break;
            }
            all.push(self.not()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
    }

    fn not(&mut self) -> Result<Filter, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            let at = self.words.next();
            return Err(Error { why: format!("more than {DEEPEST} levels deep"), at });
        }
        let filter = if self.next_is(&["not", "!"]) {
            Filter::Not(Box::new(self.not()?))
        } else if self.next_is(&["("]) {
            let inner = self.or()?;
            if !self.next_is(&[")"]) {
                return Err(Error { why: "\")\" expected".into(), at: self.words.next() });
            }
            inner
        } else {
            Filter::Test(self.test()?)
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn test(&mut self) -> Result<Test, Error> {
        let side = self.side();
        let sided = side != Side::Any;
        if self.next_is(&["host"]) {
            return self.host(side);
        }
        if self.next_is(&["net"]) {
            return self.value("a network such as 10.0.0.0/8", net).map(|n| Test::Net(side, n));
        }
        if self.next_is(&["port"]) {
            return self.port().map(|p| Test::Port(None, side, p));
        }
        if self.next_is(&["ether"]) {
            let mac =
                self.value("an Ethernet address such as 2:8:20:aa:0:1", |s| s.parse().ok())?;
            return Ok(Test::Ether(side, mac));
        }
        if self.next_is(&["zone"]) {
            return self.number("a zone id").map(|z| Test::Zone(side, z));
        }
        if sided {
            return self.host(side);
        }
        let Some(word) = self.words.peek() else {
            return Err(Error { why: "something to test expected".into(), at: None });
        };
        let Some(test) = plain(word) else { return self.host(side) };
        self.words.next();
        match test {
            Plain::Test(test) => Ok(test),
            Plain::Transport(p) => self.transport(p),
            Plain::Vnet => {
                let id = self.words.next_if(|w| w.parse::<u32>().is_ok());
                Ok(Test::Vnet(id.and_then(|w| w.parse().ok())))
            }
            Plain::VlanId => self.number("a VLAN id").map(|id| Test::Vlan(Some(id))),
            Plain::Ethertype => self.value("an ethertype", number).map(Test::Ethertype),
            Plain::Greater => self.number("a length in bytes").map(Test::Greater),
            Plain::Less => self.number("a length in bytes").map(Test::Less),
            Plain::Length => self.number("a length in bytes").map(Test::Length),
        }
    }

    fn side(&mut self) -> Side {
        if self.next_is(&["from", "src"]) {
            Side::Src
        } else if self.next_is(&["to", "dst"]) {
            Side::Dst
        } else {
            Side::Any
        }
    }

    /// `tcp`, and `tcp port 80`, which is not true of a port 80 of UDP elsewhere in the packet.
    fn transport(&mut self, protocol: Protocol) -> Result<Test, Error> {
        let mut ahead = self.words.clone();
        let mut sides = 0;
        while ahead.next_if(|w| ["from", "src", "to", "dst"].contains(&w.as_str())).is_some() {
            sides += 1;
        }
        if sides > 1 || ahead.next().as_deref() != Some("port") {
            return Ok(Test::Protocol(protocol));
        }
        let side = self.side();
        self.words.next();
        self.port().map(|p| Test::Port(Some(protocol), side, p))
    }

    fn host(&mut self, side: Side) -> Result<Test, Error> {
        let names = self.names;
        let addresses = |s: &str| match s.parse::<IpAddr>() {
            Ok(ip) => Some(Test::Host(side, vec![ip])),
            Err(_) => match s.parse::<MacAddr>() {
                Ok(mac) => Some(Test::Ether(side, mac)),
                Err(_) if RESERVED.contains(&s) => None,
                Err(_) => {
                    Some(names.host(s)).filter(|a| !a.is_empty()).map(|a| Test::Host(side, a))
                }
            },
        };
        self.value("an address, the name of a host or a word of the filter language", addresses)
    }

    fn port(&mut self) -> Result<u16, Error> {
        let names = self.names;
        self.value("a port or the name of a service", |s| {
            s.parse().ok().or_else(|| names.service(s))
        })
    }

    fn number<T: FromStr>(&mut self, what: &str) -> Result<T, Error> {
        self.value(what, |s| s.parse().ok())
    }

    fn value<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let word = self.words.next();
        let value = word.as_deref().and_then(read);
        value.ok_or_else(|| Error { why: format!("{what} expected"), at: word })
    }
}

/// A word that begins a test by itself.
enum Plain {
    Test(Test),
    Transport(Protocol),
    Vnet,
    VlanId,
    Ethertype,
    Greater,
    Less,
    Length,
}

fn plain(word: &str) -> Option<Plain> {
    let protocol = |p| Plain::Test(Test::Protocol(p));
    Some(match word {
        "ip" => protocol(Protocol::Ip),
        "ip6" | "inet6" => protocol(Protocol::Ip6),
        "arp" => protocol(Protocol::Arp),
        "rarp" => protocol(Protocol::Rarp),
        "icmp" => protocol(Protocol::Icmp),
        "icmp6" => protocol(Protocol::Icmp6),
        "dhcp" | "bootp" => protocol(Protocol::Dhcp),
        "vxlan" => protocol(Protocol::Vxlan),
        "svp" => protocol(Protocol::Svp),
        "tcp" => Plain::Transport(Protocol::Tcp),
        "udp" => Plain::Transport(Protocol::Udp),
        "vlan" => Plain::Test(Test::Vlan(None)),
        "broadcast" => Plain::Test(Test::Broadcast),
        "multicast" => Plain::Test(Test::Multicast),
        "nofrag" => Plain::Test(Test::NoFragment),
        "vnet" => Plain::Vnet,
        "vlan-id" => Plain::VlanId,
        "ethertype" => Plain::Ethertype,
        "greater" => Plain::Greater,
        "less" => Plain::Less,
        "length" => Plain::Length,
        _ => return None,
    })
}

/// Decimal, or hexadecimal behind `0x`.
fn number(s: &str) -> Option<u16> {
    match s.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None => s.parse().ok(),
    }
}

fn net(s: &str) -> Option<Net> {
    let (address, bits) = s.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some(Net { address, bits: bits.parse().ok().filter(|b| *b <= most)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Names for Known {
        fn host(&self, name: &str) -> Vec<IpAddr> {
            if name == "red1" { vec!["10.0.0.9".parse().unwrap()] } else { Vec::new() }
        }

        fn service(&self, name: &str) -> Option<u16> {
            (name == "http").then_some(80)
        }
    }

    fn read(text: &str) -> Result<Filter, String> {
        filter(text, &Known).map_err(|e| e.to_string())
    }

    fn host(side: Side, a: &str) -> Filter {
        Filter::Test(Test::Host(side, vec![a.parse().unwrap()]))
    }

    fn port(p: Option<Protocol>, side: Side, n: u16) -> Filter {
        Filter::Test(Test::Port(p, side, n))
    }

    #[test]
    fn words_behind_each_other_are_an_and_which_binds_tighter_than_or() {
        let tcp = || Filter::Test(Test::Protocol(Protocol::Tcp));
        let arp = || Filter::Test(Test::Protocol(Protocol::Arp));
        let a = || host(Side::Any, "10.0.0.9");
        assert_eq!(read("tcp red1"), Ok(Filter::And(vec![tcp(), a()])));
        assert_eq!(read("tcp and red1 or arp"), read("(tcp host red1), arp"));
        assert_eq!(
            read("tcp red1 or arp"),
            Ok(Filter::Or(vec![Filter::And(vec![tcp(), a()]), arp()]))
        );
        let not = |f| Filter::Not(Box::new(f));
        assert_eq!(read("not tcp red1"), Ok(Filter::And(vec![not(tcp()), a()])));
        assert_eq!(read("!(tcp red1)"), Ok(not(Filter::And(vec![tcp(), a()]))));
        assert_eq!(read(" "), Ok(Filter::And(Vec::new())));
    }

    #[test]
    fn sides_and_ports() {
        assert_eq!(read("from red1"), Ok(host(Side::Src, "10.0.0.9")));
        assert_eq!(read("dst host fd00::1"), Ok(host(Side::Dst, "fd00::1")));
        assert_eq!(read("port http"), Ok(port(None, Side::Any, 80)));
        assert_eq!(read("tcp dst port 22"), Ok(port(Some(Protocol::Tcp), Side::Dst, 22)));
        let udp = Filter::Test(Test::Protocol(Protocol::Udp));
        assert_eq!(read("udp from red1"), Ok(Filter::And(vec![udp, host(Side::Src, "10.0.0.9")])));
        let mac = MacAddr([2, 8, 0x20, 0xaa, 0, 1]);
        assert_eq!(read("2:8:20:aa:0:1"), Ok(Filter::Test(Test::Ether(Side::Any, mac))));
        assert_eq!(read("src zone 3"), Ok(Filter::Test(Test::Zone(Side::Src, 3))));
        assert_eq!(read("vnet 7"), Ok(Filter::Test(Test::Vnet(Some(7)))));
        assert_eq!(read("ethertype 0x806"), Ok(Filter::Test(Test::Ethertype(0x806))));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let expected = "an address, the name of a host or a word of the filter language expected";
        assert_eq!(read("tcp blue1"), Err(format!("filter: {expected} at \"blue1\"")));
        assert_eq!(read("tcp and"), Err("filter: something to test expected at the end".into()));
        assert_eq!(read("(tcp"), Err("filter: \")\" expected at the end".into()));
        let rest = "filter: \"and\", \"or\" or the end expected at \")\"";
        assert_eq!(read("tcp)"), Err(rest.into()));
        let port = "filter: a port or the name of a service expected at \"99999\"";
        assert_eq!(read("port 99999"), Err(port.into()));
        assert!(read("net 10.0.0.0/33").is_err());
        assert!(read(&"(".repeat(100_000)).unwrap_err().contains("levels deep"));
        assert!(read(&"not ".repeat(100_000)).unwrap_err().contains("levels deep"));
    }

    #[test]
    fn a_network_holds_what_begins_alike() {
        let holds = |n: &str, a: &str| net(n).unwrap().holds(a.parse().unwrap());
        assert!(holds("10.1.0.0/16", "10.1.2.3") && !holds("10.1.0.0/16", "10.2.2.3"));
        assert!(holds("0.0.0.0/0", "10.1.2.3") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::1/128", "fd00::2"));
        assert!(holds("::/0", "ff02::1"));
    }
}
