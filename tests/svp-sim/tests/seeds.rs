// SPDX-License-Identifier: CDDL-1.0
//! Seeds that are run with every change of the project. `cargo run -p svp-sim` runs more.

use svp_sim::{Figures, run};

fn seeds(from: u64, to: u64) {
    let mut all = Figures::default();
    for seed in from..to {
        match run(seed, false).0 {
            Ok(figures) => all += figures,
            Err(failure) => panic!(
                "seed {seed} at {:?}: {}\n    cargo run -p svp-sim -- --seed {seed} --trace",
                failure.at, failure.why
            ),
        }
    }
    eprintln!("{all:?}");
    // A simulation in which nothing happens finds nothing.
    assert!(all.found > 50 * (to - from) && all.removed > 0 && all.lost > 0);
    assert!(all.routed > 5 * (to - from));
}

#[test]
fn seeds_0_to_99() {
    seeds(0, 100);
}

#[test]
fn seeds_100_to_199() {
    seeds(100, 200);
}

#[test]
fn a_seed_is_always_the_same_story() {
    for seed in 0..5 {
        let (first, second) = (run(seed, true).1, run(seed, true).1);
        let differ = first.iter().zip(&second).find(|(a, b)| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert!(first.len() == second.len() && first.len() > 1000, "{} lines", first.len());
    }
}
