// SPDX-License-Identifier: CDDL-1.0
//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, with libFuzzer and the compiler that is there.
//!
//! ```text
//!   tests/fuzz/fuzz_targets/NAME.rs --cargo, coverage instrumentation--> target/fuzz/.../NAME
//!   tests/fuzz/corpus/NAME/   what is committed: replayed first          |
//!   tests/fuzz/dict/NAME      words of its language, if there are any    v
//!   target/fuzz/found/NAME/   what reached something new  <----------- libFuzzer ---> target/fuzz/crashes/NAME/
//! ```
//!
//! The layout is cargo-fuzz's, which runs them as well; it wants a nightly compiler by default, this does not. There
//! is no address sanitizer: targets are safe code, and what they are looked at for are panics, overflow,
//! endless loops, and what they assert themselves.

use crate::toolchain::need_programs;
use crate::user::execute;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What makes the compiler count edges for libFuzzer, and show it the operands of comparisons.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// Seconds after which one input counts as an endless loop, on a machine that may be busy.
const TIMEOUT: u32 = 20;

/// What to do with the targets.
#[derive(clap::Args)]
pub struct Options {
    /// Targets to run; all if none is named.
    names: Vec<String>,
    /// How long to look for new inputs after the corpus, for each target; 0: the corpus only.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Name the targets, and run none.
    #[arg(long)]
    list: bool,
    /// Then copy those of the inputs found that reach something new to the corpus that is committed.
    #[arg(long)]
    keep: bool,
}

/// Builds the targets and runs them in turn.
///
/// # Errors
/// No such target; it does not build; an input makes it fail, and the message has the file.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let dir = root.join("tests/fuzz");
    let all = targets(&dir)?;
    if options.list {
        all.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if let Some(name) = options.names.iter().find(|n| !all.contains(n)) {
        bail!("no target {name}; there are: {}", all.join(", "));
    }
    let names = if options.names.is_empty() { &all } else { &options.names };
    need_programs(&[("g++", "g++")])?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let out = target.join("fuzz");
    let programs = build(&dir, &out, names)?;
    let mut failed = Vec::new();
    for name in names {
        let target = Target { name, program: programs.join(name), dir: &dir, out: &out };
        match target.run(options.seconds) {
            Ok(line) => println!("{line}"),
            Err(e) => {
                println!("{name:18} FAILED\n{e:#}");
                failed.push(name.as_str());
            }
        }
        if options.keep {
            target.keep()?;
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn targets(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir.join("fuzz_targets"))? {
        let file = entry?.file_name().into_string().ok().context("a name that is not UTF-8")?;
        names.extend(file.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Where the programs are.
fn build(dir: &Path, out: &Path, names: &[String]) -> Result<PathBuf> {
    let host =
        Command::new("rustc").arg("--print=host-tuple").output().context("cannot run rustc")?;
    let host = String::from_utf8(host.stdout)?.trim().to_owned();
    let mut cmd = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cmd.current_dir(dir).args(["build", "--quiet", "--release", "--target-dir"]).arg(out);
    // With a target named, flags are for what runs there only: not for build scripts.
    cmd.args(["--target", &host]).args(names.iter().flat_map(|n| ["--bin", n]));
    execute(cmd.env("RUSTFLAGS", FLAGS.join(" "))).context("fuzz targets (tests/fuzz)")?;
    Ok(out.join(host).join("release"))
}

struct Target<'a> {
    name: &'a str,
    program: PathBuf,
    /// tests/fuzz
    dir: &'a Path,
    out: &'a Path,
}

impl Target<'_> {
    fn corpus(&self) -> PathBuf {
        self.dir.join("corpus").join(self.name)
    }

    /// A directory of this target's, made.
    fn made(&self, what: &str) -> Result<PathBuf> {
        let dir = self.out.join(what).join(self.name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// What was seen, in a line.
    fn run(&self, seconds: u32) -> Result<String> {
        let corpus = self.corpus();
        if !corpus.is_dir() {
            bail!("{} is missing: a target has a corpus", corpus.display());
        }
        let (found, crashes) = (self.made("found")?, self.made("crashes")?);
        let log = self.made("log")?.join("last");
        let mut cmd = Command::new(&self.program);
        cmd.arg(&found).arg(&corpus).arg(format!("-artifact_prefix={}/", crashes.display()));
        cmd.arg(format!("-timeout={TIMEOUT}")).arg("-print_final_stats=1");
        cmd.arg(match seconds {
            0 => "-runs=0".to_owned(),
            n => format!("-max_total_time={n}"),
        });
        let dict = self.dir.join("dict").join(self.name);
        if dict.exists() {
            cmd.arg(format!("-dict={}", dict.display()));
        }
        let status = cmd.stdout(Stdio::null()).stderr(std::fs::File::create(&log)?).status();
        let status = status.with_context(|| format!("cannot run {}", self.program.display()))?;
        let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
        if !status.success() {
            let again = match crash_file(&text) {
                Some(file) => {
                    format!("input: {file}\nagain with: {} {file}", self.program.display())
                }
                None => "no input was written".to_owned(),
            };
            bail!("{}{again}\nlog: {}", cause(&text), log.display());
        }
        Ok(format!("{:18} {}", self.name, summary(&text).context("libFuzzer printed no figures")?))
    }

    /// Adds to the corpus what it lacks.
    fn keep(&self) -> Result<()> {
        let mut cmd = Command::new(&self.program);
        cmd.arg("-merge=1").arg(self.corpus()).arg(self.made("found")?);
        execute(cmd.stderr(Stdio::null()))
    }
}

/// What libFuzzer wrote the input to that failed.
fn crash_file(log: &str) -> Option<&str> {
    log.lines().find_map(|l| l.split_once("Test unit written to ").map(|(_, file)| file.trim()))
}

/// The message of the panic, or what libFuzzer says.
fn cause(log: &str) -> String {
    let begin = |l: &&str| l.contains(" panicked at ") || l.contains("ERROR: libFuzzer");
    let lines: Vec<_> = log.lines().skip_while(|l| !begin(l)).take(6).collect();
    lines.iter().map(|l| format!("    {l}\n")).collect()
}

/// Executions, rate and coverage.
fn summary(log: &str) -> Option<String> {
    let stat = |name: &str| {
        let mut all = log.lines().filter_map(|l| l.strip_prefix("stat::")?.strip_prefix(name));
        all.next_back().map(|v| v.trim_start_matches(':').trim().to_owned())
    };
    // "#1024 DONE cov: 87 ft: 120 corp: 12/340b ..."
    let after = |line: &str, word: &str| {
        let mut words = line.split_whitespace().skip_while(|w| *w != word);
        words.nth(1).map(|v| v.split('/').next().unwrap_or(v).to_owned())
    };
    let last = log.lines().rfind(|l| l.starts_with('#') && l.contains(" cov: "))?;
    Some(format!(
        "{:>10} executions {:>8}/s   edges {:>5}   features {:>5}   inputs {:>4}, new {:>4}",
        stat("number_of_executed_units")?,
        stat("average_exec_per_sec")?,
        after(last, "cov:")?,
        after(last, "ft:")?,
        after(last, "corp:")?,
        stat("new_units_added")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "INFO: seed corpus: files: 4\n\
        #5\tINITED cov: 80 ft: 90 corp: 4/60b exec/s: 0 rss: 50Mb\n\
        #900\tDONE   cov: 87 ft: 120 corp: 12/340b lim: 80 exec/s: 450 rss: 60Mb\n\
        stat::number_of_executed_units: 900\n\
        stat::average_exec_per_sec:     450\n\
        stat::new_units_added:          8\n";

    #[test]
    fn figures_are_found() {
        let line = summary(GOOD).expect("figures");
        let words: Vec<_> = line.split_whitespace().collect();
        let want = [
            "900",
            "executions",
            "450/s",
            "edges",
            "87",
            "features",
            "120",
            "inputs",
            "12,",
            "new",
            "8",
        ];
        assert_eq!(words, want);
        assert_eq!(summary("INFO: nothing\n"), None);
    }

    #[test]
    fn a_crash_is_named() {
        let log = "thread '<unnamed>' panicked at src/x.rs:3:5:\nindex out of bounds\n\
                   artifact_prefix='/t/'; Test unit written to /t/crash-00ff\nBase64: AA==\n";
        assert_eq!(crash_file(log), Some("/t/crash-00ff"));
        assert!(cause(log).contains("index out of bounds"));
        assert_eq!(crash_file(GOOD), None);
    }
}
