// SPDX-License-Identifier: CDDL-1.0
//! No panic that anything can reach.
//!
//! A Rust panic ends in a call of panic(9F), through functions of core that are known by name; both
//! are looked for, so that neither inlining nor a new name hides one. `ud2` is what the compiler
//! makes of a place it takes for unreachable: it traps, and in the kernel that is a panic too.
//!
//! For every function that can panic, one chain of callers from an entry point is shown. An edge is
//! a call, a jump, or an address: also one in data, as tables of functions are.

use super::check::{Expected, Report, Rule, at};
use super::code;
use super::view::{Place, RegionId, Target, View};
use iced_x86::{FlowControl, Mnemonic};
use object::elf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Imports that do not return because something is wrong.
const KERNEL: [&str; 4] = ["panic", "vpanic", "assfail", "assfail3"];

/// Parts of names of core's and alloc's functions that do not return because something is wrong.
const RUST: [&str; 14] = [
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_already",
    "core::str::slice_error_fail",
    "core::slice::index::slice_",
    "copy_from_slice_impl::len_mismatch_fail",
    "copy_from_slice::len_mismatch_fail",
    "::panic_const_",
    "rust_begin_unwind",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
    "alloc::raw_vec::handle_error",
];

fn is_panic(name: &str) -> bool {
    KERNEL.contains(&name) || RUST.iter().any(|part| name.contains(part))
}

/// Who refers to whom.
struct Graph {
    edges: BTreeMap<RegionId, BTreeSet<RegionId>>,
    /// Functions that are part of panicking.
    inside: BTreeSet<RegionId>,
    /// Functions that call what panics, with its names.
    panics: BTreeMap<RegionId, BTreeSet<String>>,
}

/// Looks for panics.
pub(super) fn check(view: &View, expected: &Expected, report: &mut Report) {
    let graph = Graph::new(view);
    let entries = view.symbols.iter().filter(|s| s.bind != elf::STB_LOCAL);
    let entries = entries.filter_map(|s| view.region(s.place?)).collect::<BTreeSet<_>>();
    let from_entries = graph.reach(&entries);
    let hot = |r: &RegionId| expected.hot.contains(&view.get(*r).name.as_str());
    let hot: BTreeSet<_> = (0..view.regions.len()).map(RegionId).filter(hot).collect();
    for name in expected.hot {
        if !hot.iter().any(|r| view.get(*r).name == *name) {
            report.wrong(Rule::Panic, name, "no such function: of the paths without panic");
        }
    }
    let from_hot = graph.reach(&hot);
    let through_panics = graph.everything(&entries);
    for (region, what) in &graph.panics {
        // What only panicking itself uses, such as formatting its message.
        if through_panics.contains(region) && !from_entries.contains_key(region) {
            continue;
        }
        let r = view.get(*region);
        let chain = match graph.chain(*region, &from_entries) {
            Some(chain) => {
                let names: Vec<_> = chain.iter().map(|r| view.get(*r).name.as_str()).collect();
                names.join(" > ")
            }
            None => format!("(no chain found) > {}", r.name),
        };
        if !expected.forgiven.has(&r.name) {
            let place = at(view, r.start.section, r.start.offset);
            let what: Vec<_> = what.iter().map(String::as_str).collect();
            report.wrong(Rule::Panic, place, format!("{chain} > {}", what.join(", ")));
        } else if from_hot.contains_key(region) {
            let place = at(view, r.start.section, r.start.offset);
            report.wrong(Rule::Panic, place, format!("forgiven, but packets come here: {chain}"));
        } else {
            report.forgiven.insert(r.name.clone());
        }
    }
}

impl Graph {
    fn new(view: &View) -> Graph {
        let mut graph =
            Graph { edges: BTreeMap::new(), inside: BTreeSet::new(), panics: BTreeMap::new() };
        for (index, region) in view.regions.iter().enumerate() {
            let id = RegionId(index);
            // What is part of panicking is not to blame for it.
            let inside = is_panic(&region.name);
            let mut edges = BTreeSet::new();
            let mut panic = |name: &str| {
                if !inside {
                    graph.panics.entry(id).or_default().insert(name.to_string());
                }
            };
            let mut refer = |place: Place| {
                let Some(to) = view.region(place) else { return };
                edges.insert(to);
                if is_panic(&view.get(to).name) {
                    panic(&view.get(to).name);
                }
            };
            let relocs = view.relocs_of(region);
            for target in relocs.iter().map(|r| &r.target) {
                if let Target::Here(place) = target {
                    refer(*place);
                }
            }
            let mut traps = false;
            if view.sections[region.start.section].is_code() {
                for i in code::instructions(view, region) {
                    let direct = matches!(
                        i.flow_control(),
                        FlowControl::Call
                            | FlowControl::UnconditionalBranch
                            | FlowControl::ConditionalBranch
                    );
                    let fixed = |at: u64| (i.ip()..i.next_ip()).contains(&at);
                    if direct && !relocs.iter().any(|r| fixed(r.place.offset)) {
                        refer(Place { offset: i.near_branch_target(), ..region.start });
                    }
                    traps |= i.mnemonic() == Mnemonic::Ud2;
                }
            }
            for target in relocs.iter().map(|r| &r.target) {
                if let Target::Import(name) = target
                    && is_panic(name)
                {
                    panic(name);
                }
            }
            if traps {
                panic("ud2");
            }
            graph.edges.insert(id, edges);
            if inside {
                graph.inside.insert(id);
            }
        }
        graph
    }

    /// All that is reached from some regions without a panic, each with the one it was reached from
    /// first.
    fn reach(&self, from: &BTreeSet<RegionId>) -> BTreeMap<RegionId, Option<RegionId>> {
        self.walk(from, |r| !self.inside.contains(&r))
    }

    /// All that is reached from some regions.
    fn everything(&self, from: &BTreeSet<RegionId>) -> BTreeSet<RegionId> {
        self.walk(from, |_| true).into_keys().collect()
    }

    fn walk(
        &self,
        from: &BTreeSet<RegionId>,
        through: impl Fn(RegionId) -> bool,
    ) -> BTreeMap<RegionId, Option<RegionId>> {
        let mut reached: BTreeMap<_, _> = from.iter().map(|r| (*r, None)).collect();
        let mut todo: VecDeque<_> = from.iter().copied().collect();
        while let Some(region) = todo.pop_front() {
            for to in self.edges.get(&region).into_iter().flatten() {
                if reached.contains_key(to) {
                    continue;
                }
                reached.insert(*to, Some(region));
                if through(*to) {
                    todo.push_back(*to);
                }
            }
        }
        reached
    }

    /// The way to a region.
    fn chain(
        &self,
        to: RegionId,
        reached: &BTreeMap<RegionId, Option<RegionId>>,
    ) -> Option<Vec<RegionId>> {
        let mut chain = vec![to];
        let mut from = *reached.get(&to)?;
        while let Some(region) = from {
            chain.push(region);
            from = *reached.get(&region)?;
        }
        chain.reverse();
        Some(chain)
    }
}
