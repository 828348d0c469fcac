// SPDX-License-Identifier: CDDL-1.0
//! Who reaches whom.

use super::census::Census;
use std::collections::BTreeSet;
use std::fmt;

/// A way: the numbers of two guests, and whether by IPv6.
pub type Way = (usize, usize, bool);

/// For each guest whether it got an answer from each other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    names: Vec<String>,
    ways: BTreeSet<Way>,
}

impl Matrix {
    /// Of these ways.
    #[must_use]
    pub fn new(census: &Census, ways: BTreeSet<Way>) -> Matrix {
        let name = |g: &super::census::Person| match g.vlan {
            0 => g.name.clone(),
            vlan => format!("{}/{vlan}", g.name),
        };
        Matrix { names: census.guests.iter().map(name).collect(), ways }
    }

    /// All ways that there are when these networks are attached.
    #[must_use]
    pub fn expected(census: &Census, attached: impl Fn(usize, usize) -> bool) -> Matrix {
        let mut ways = BTreeSet::new();
        for (a, from) in census.guests.iter().enumerate() {
            for (b, to) in census.guests.iter().enumerate().filter(|(b, _)| *b != a) {
                if from.network == to.network || attached(from.network, to.network) {
                    ways.extend(to.ips.iter().map(|ip| (a, b, ip.is_ipv6())));
                }
            }
        }
        Matrix::new(census, ways)
    }

    /// The ways.
    #[must_use]
    pub fn ways(&self) -> &BTreeSet<Way> {
        &self.ways
    }

    fn cell(&self, from: usize, to: usize) -> &'static str {
        let has = |v6| self.ways.contains(&(from, to, v6));
        match (from == to, has(false), has(true)) {
            (true, ..) => "-",
            (_, true, true) => "4+6",
            (_, true, false) => "4",
            (_, false, true) => "6",
            (_, false, false) => ".",
        }
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.names.iter().map(String::len).max().unwrap_or(0);
        write!(f, "  {:width$}", "")?;
        self.names.iter().try_for_each(|name| write!(f, " {name:>width$}"))?;
        for (from, name) in self.names.iter().enumerate() {
            write!(f, "\n  {name:width$}")?;
            for to in 0..self.names.len() {
                write!(f, " {:>width$}", self.cell(from, to))?;
            }
        }
        Ok(())
    }
}

/// An object of objects: from whom, to whom, and the versions of IP.
impl serde::Serialize for Matrix {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.names.iter().enumerate().map(|(from, name)| {
            let others = self.names.iter().enumerate().filter(move |(to, _)| *to != from);
            let versions = move |to| {
                let has = [(4, false), (6, true)].into_iter();
                let has = has.filter(move |(_, v6)| self.ways.contains(&(from, to, *v6)));
                has.map(|(version, _)| version).collect::<Vec<u8>>()
            };
            let row = others.map(move |(to, name)| (name, versions(to)));
            (name, row.collect::<std::collections::BTreeMap<_, _>>())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{READY, Topology};

    #[test]
    fn a_matrix_of_attached_networks() {
        let (_, text) = READY.iter().find(|(name, _)| *name == "three-vnets").unwrap();
        let t = Topology::parse(text).unwrap();
        let census = Census::of(&t).unwrap();
        let alone = Matrix::expected(&census, |_, _| false);
        // In each virtual network two guests are untagged.
        assert_eq!(alone.ways().len(), 3 * 2 * 2);
        let number = |name: &str| t.networks.iter().position(|n| n.name == name).unwrap();
        let pair = [number("red"), number("blue20")];
        let m = Matrix::expected(&census, |a, b| pair.contains(&a) && pair.contains(&b));
        assert_eq!(m.ways().len(), 12 + 2 * 2 * 2);
        let text = m.to_string();
        let red1 = text.lines().nth(1).unwrap();
        let cells: Vec<_> = red1.split_whitespace().collect();
        assert_eq!(cells, ["red1", "-", "4+6", ".", ".", "4+6", ".", ".", ".", "."], "{text}");
        let json = serde_json::to_value(&m).unwrap();
        assert_eq!(json["red1"]["blue2/20"], serde_json::json!([4, 6]));
        assert_eq!(json["red1"]["green2"], serde_json::json!([]));
    }
}
