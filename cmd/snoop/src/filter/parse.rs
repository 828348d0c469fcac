// SPDX-License-Identifier: CDDL-1.0
//! From words to a filter, by recursive descent.

use super::number::{Base, Number, Operation, Relation};
use super::words::{is_sign, words};
use super::{Error, Filter, Names, Net, Protocol, Side, Test};
use overlay_abi::ids::MacAddr;
use std::iter::Peekable;
use std::net::IpAddr;
use std::str::FromStr;
use std::vec::IntoIter;

/// Deepest nesting of parentheses and "not"; more is an error, not the end of the stack.
const DEEPEST: usize = 100;
/// Most operations with numbers.
const LONGEST: usize = 256;

/// Words that begin something else than the name of a host.
const RESERVED: &[&str] = &["and", "or", "not"];

pub(super) fn filter(text: &str, names: &dyn Names) -> Result<Filter, Error> {
    let words = words(text).into_iter().peekable();
    let mut parser = Parser { words, names, depth: 0, operations: 0 };
    if parser.words.peek().is_none() {
        return Ok(Filter::And(Vec::new()));
    }
    let item = parser.or()?;
    let filter = parser.truth(item)?;
    match parser.words.next() {
        None => Ok(filter),
        at => Err(Error { why: "\"and\", \"or\" or the end expected".into(), at }),
    }
}

/// What a part of an expression is.
enum Item {
    Truth(Filter),
    Number(Number),
}

struct Parser<'a> {
    words: Peekable<IntoIter<String>>,
    names: &'a dyn Names,
    depth: usize,
    operations: usize,
}

impl Parser<'_> {
    fn next_is(&mut self, any: &[&str]) -> bool {
        self.words.next_if(|w| any.contains(&w.as_str())).is_some()
    }

    fn or(&mut self) -> Result<Item, Error> {
        let first = self.and()?;
        if !self.words.peek().is_some_and(|w| ["or", ","].contains(&w.as_str())) {
            return Ok(first);
        }
        let mut any = vec![self.truth(first)?];
        while self.next_is(&["or", ","]) {
            let next = self.and()?;
            any.push(self.truth(next)?);
        }
        Ok(Item::Truth(Filter::Or(any)))
    }

    fn and(&mut self) -> Result<Item, Error> {
        let mut all = Vec::new();
        let mut item = self.not()?;
        let ends = |w: &String| ["or", ",", ")", "]", ":"].contains(&w.as_str());
        while !self.words.peek().is_none_or(ends) {
            all.push(self.truth(item)?);
            self.next_is(&["and"]);
            item = self.not()?;
        }
        if all.is_empty() {
            return Ok(item);
        }
        all.push(self.truth(item)?);
        Ok(Item::Truth(Filter::And(all)))
    }

    fn not(&mut self) -> Result<Item, Error> {
        if !self.next_is(&["not", "!"]) {
            return self.compare();
        }
        let item = self.deeper(Self::not)?;
        Ok(Item::Truth(Filter::Not(Box::new(self.truth(item)?))))
    }

    fn truth(&mut self, item: Item) -> Result<Filter, Error> {
        match item {
            Item::Truth(filter) => Ok(filter),
            Item::Number(_) => Err(self.wrong("a comparison such as \"= 1\" expected")),
        }
    }

    fn number_of(&mut self, item: Item) -> Result<Number, Error> {
        match item {
            Item::Number(number) => Ok(number),
            Item::Truth(_) => Err(self.wrong("a number before this expected")),
        }
    }

    /// Reads what is one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong(&format!("more than {DEEPEST} levels deep")));
        }
        let done = read(self)?;
        self.depth -= 1;
        Ok(done)
    }

    /// An error about the next word.
    fn wrong(&mut self, why: &str) -> Error {
        Error { why: why.into(), at: self.words.next() }
    }

    fn compare(&mut self) -> Result<Item, Error> {
        let item = self.sum()?;
        let Some(relation) = self.sign(Relation::named) else { return Ok(item) };
        let left = self.number_of(item)?;
        let right = self.sum().and_then(|item| self.number_of(item))?;
        Ok(Item::Truth(Filter::Test(Test::Compare(relation, left, right))))
    }

    /// Takes the next word if it means something.
    fn sign<T>(&mut self, meaning: impl Fn(&str) -> Option<T>) -> Option<T> {
        let meant = self.words.peek().and_then(|w| meaning(w))?;
        self.words.next();
        Some(meant)
    }

    fn sum(&mut self) -> Result<Item, Error> {
        self.chain(Operation::sum, Self::product)
    }

    fn product(&mut self) -> Result<Item, Error> {
        self.chain(Operation::product, Self::item)
    }

    /// Parts with operations between them, from left to right; one part may be anything.
    fn chain(
        &mut self,
        operation: fn(&str) -> Option<Operation>,
        part: fn(&mut Self) -> Result<Item, Error>,
    ) -> Result<Item, Error> {
        let mut item = part(self)?;
        while let Some(operation) = self.sign(operation) {
            let left = self.number_of(item)?;
            let right = part(self).and_then(|item| self.number_of(item))?;
            self.operations += 1;
            if self.operations > LONGEST {
                return Err(self.wrong(&format!("more than {LONGEST} operations")));
            }
            item = Item::Number(Number::Of(operation, Box::new((left, right))));
        }
        Ok(item)
    }

    fn item(&mut self) -> Result<Item, Error> {
        if self.next_is(&["("]) {
            let inner = self.deeper(Self::or)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.next_is(&["-"]) {
            let item = self.deeper(Self::item)?;
            let negative = (Number::Constant(0), self.number_of(item)?);
            return Ok(Item::Number(Number::Of(Operation::Subtract, Box::new(negative))));
        }
        if self.next_is(&["length"]) {
            return Ok(Item::Number(Number::Length));
        }
        if let Some(n) = self.sign(number) {
            return Ok(Item::Number(Number::Constant(n)));
        }
        match self.base() {
            Some(base) => self.deeper(|p| p.field(base)).map(Item::Number),
            None => self.test().map(|t| Item::Truth(Filter::Test(t))),
        }
    }

    /// `ip` and such, if a bracket follows.
    fn base(&mut self) -> Option<Base> {
        let mut ahead = self.words.clone();
        let base =
            Base::named(&ahead.next()?).filter(|_| ahead.next().is_some_and(|w| w == "["))?;
        self.words = ahead;
        Some(base)
    }

    /// What follows the bracket.
    fn field(&mut self, base: Base) -> Result<Number, Error> {
        let offset = self.sum().and_then(|item| self.number_of(item)).map(Box::new)?;
        let size = match self.next_is(&[":"]) {
            false => 1,
            true => self.value("a size of 1, 2 or 4 bytes", |w| {
                number(w).map(|n| n as usize).filter(|n| [1, 2, 4].contains(n))
            })?,
        };
        self.expect("]")?;
        Ok(Number::Field { base, offset, size })
    }

    fn expect(&mut self, sign: &str) -> Result<(), Error> {
        match self.next_is(&[sign]) {
            true => Ok(()),
            false => Err(self.wrong(&format!("\"{sign}\" expected"))),
        }
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
            Plain::Ethertype => {
                let small = |s: &str| number(s).and_then(|n| u16::try_from(n).ok());
                self.value("an ethertype", small).map(Test::Ethertype)
            }
            Plain::Length(relation) => {
                let length = self.number("a length in bytes").map(Number::Constant)?;
                Ok(Test::Compare(relation, Number::Length, length))
            }
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
                Err(_) if RESERVED.contains(&s) || is_sign(s) => None,
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
    /// Whether the packet is so long.
    Length(Relation),
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
        "greater" => Plain::Length(Relation::Greater),
        "less" => Plain::Length(Relation::Less),
        _ => return None,
    })
}

/// Decimal, or hexadecimal behind `0x`.
fn number(s: &str) -> Option<u32> {
    match s.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
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
        assert!(read(&"ip[".repeat(100_000)).unwrap_err().contains("levels deep"));
        assert!(read(&"- ".repeat(100_000)).unwrap_err().contains("levels deep"));
        assert!(read(&"1 + ".repeat(100_000)).unwrap_err().contains("more than 256 operations"));
        assert!(read(&"not ".repeat(100_000)).unwrap_err().contains("levels deep"));
    }

    #[test]
    fn numbers_are_computed_as_snoop_does_it() {
        let same = |a: &str, b: &str| assert_eq!(read(a).unwrap(), read(b).unwrap(), "{a}");
        // & binds as * does, both tighter than + and |; all from the left.
        same("ip[ip[0] & 0xf * 4:2] = 2049", "ip[((ip[0] & 0xf) * 4) : 2] == 2049");
        same("ether[0] & 1 = 1", "(ether[0] & 1) = 1");
        same("ip[6:2] & 0x1fff = 0 udp", "((ip[6:2] & 0x1fff) = 0) and udp");
        same("1 + 2 * 3 - 4 > 0", "((1 + (2 * 3)) - 4) > 0");
        same("not (ip[0]) = 1 or tcp", "(not (ip[0] = 1)), tcp");
        same("greater 60", "length > 60");
        same("less 0060", "length < 60");
        same("ether[length-1] != -1", "ether[length - 1] != (-1)");
        let field = |base, offset, size| Number::Field {
            base,
            offset: Box::new(Number::Constant(offset)),
            size,
        };
        let test = Test::Compare(Relation::Equal, field(Base::Tcp, 13, 1), Number::Constant(2));
        assert_eq!(read("tcp[13]=2"), Ok(Filter::Test(test)));
    }

    #[test]
    fn numbers_that_are_none_are_told() {
        let wrong =
            |text: &str, why: &str| assert_eq!(read(text).unwrap_err(), format!("filter: {why}"));
        wrong("ip[0]", "a comparison such as \"= 1\" expected at the end");
        wrong("ip[0] and tcp", "a comparison such as \"= 1\" expected at \"and\"");
        wrong("ip[0:3] = 1", "a size of 1, 2 or 4 bytes expected at \"3\"");
        wrong("ip[0 = 1", "\"]\" expected at \"=\"");
        wrong("tcp = 1", "a number before this expected at \"1\"");
        wrong("ip[tcp] = 1", "a number before this expected at \"]\"");
        wrong("1 = tcp", "a number before this expected at the end");
        let words = "an address, the name of a host or a word of the filter language expected";
        wrong("ip[] = 1", &format!("{words} at \"]\""));
        wrong("= 1", &format!("{words} at \"=\""));
        wrong("99999999999 = 1", &format!("{words} at \"99999999999\""));
        assert!(read("80").unwrap_err().contains("a comparison"));
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
