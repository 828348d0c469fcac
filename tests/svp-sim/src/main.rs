// SPDX-License-Identifier: CDDL-1.0
//! Runs seeds of the simulation: `cargo run -p svp-sim -- --seeds 10000`, or `--seed N --trace`.

use clap::Parser;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use svp_sim::{Failure, Figures, run};

/// Hosts with the svp engine and portolan's directory, in simulated time, from a seed.
#[derive(Parser)]
struct Args {
    /// Run this seed only.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Run so many seeds.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// Begin with this one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Say everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(seed) = args.seed {
        let (result, lines) = run(seed, args.trace);
        lines.iter().for_each(|line| println!("{line}"));
        return match result {
            Ok(figures) => {
                println!("seed {seed}: {figures:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                report(&failure);
                ExitCode::FAILURE
            }
        };
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, all) = (AtomicU64::new(0), Mutex::new((Figures::default(), 0u64)));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= args.seeds {
                        return;
                    }
                    let (result, _) = run(args.from + n, false);
                    let mut all = all.lock().expect("no thread panics");
                    match result {
                        Ok(figures) => all.0 += figures,
                        Err(failure) => {
                            all.1 += 1;
                            report(&failure);
                        }
                    }
                }
            });
        }
    });
    let (figures, failed) = all.into_inner().expect("no thread panics");
    println!("{} seeds, {failed} failed: {figures:?}", args.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(Failure { seed, at, why }: &Failure) {
    println!("seed {seed} at {at:?}: {why}\n    cargo run -p svp-sim -- --seed {seed} --trace");
}
