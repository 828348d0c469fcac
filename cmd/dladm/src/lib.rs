// SPDX-License-Identifier: CDDL-1.0
//! `dladm`: the administrator's command for overlays and VNICs.
//!
//! ```text
//!   main -- -R DIR, subcommand --> overlay | vnic | link    read options (getopt), check them
//!                                        |                  in dladm's order
//!                                    libdladm               does it
//!                                        |
//!                                      ofmt                 prints tables
//! ```
//!
//! Syntax, texts, columns and exit statuses are dladm(8)'s, so that scripts written for illumos
//! run; spec/varpd.md 8 has those of overlays. All diagnostics go to standard error:
//!
//! * *fatal*, `dladm: text`, exit 1;
//! * *warning*, `dladm: warning: text`, and the command goes on.
//!
//! Options are checked before anything is opened, so a wrong command line says so also when no
//! kernel is there.

mod getopt;
mod link;
mod ofmt;
mod overlay;
mod vnic;

use devctl::Root;
use libdladm::{Failure, Handle, Status};
use overlay_abi::errno::Errno;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// A subcommand.
struct Command {
    name: &'static str,
    /// Its options and operands.
    usage: &'static str,
    run: fn(&Context, Vec<String>) -> Result<ExitCode, Fatal>,
}

const COMMANDS: [Command; 10] = [
    Command { name: "show-link", usage: link::SHOW_LINK, run: link::show_link },
    Command { name: "set-linkprop", usage: link::SET_LINKPROP, run: link::set_linkprop },
    Command { name: "show-linkprop", usage: link::SHOW_LINKPROP, run: link::show_linkprop },
    Command { name: "create-vnic", usage: vnic::CREATE, run: vnic::create },
    Command { name: "delete-vnic", usage: vnic::DELETE, run: vnic::delete },
    Command { name: "show-vnic", usage: vnic::SHOW, run: vnic::show },
    Command { name: "create-overlay", usage: overlay::CREATE, run: overlay::create },
    Command { name: "delete-overlay", usage: overlay::DELETE, run: overlay::delete },
    Command { name: "modify-overlay", usage: overlay::MODIFY, run: overlay::modify },
    Command { name: "show-overlay", usage: overlay::SHOW, run: overlay::show },
];

/// What ends the program with status 1.
enum Fatal {
    /// A diagnostic.
    Text(String),
    /// The command line makes no sense: the list of subcommands.
    Usage,
    /// The reader of our output went away: nobody left to tell.
    BrokenPipe,
}

impl From<String> for Fatal {
    fn from(text: String) -> Fatal {
        Fatal::Text(text)
    }
}

impl From<io::Error> for Fatal {
    fn from(e: io::Error) -> Fatal {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Fatal::BrokenPipe,
            _ => Fatal::Text(format!("cannot write the output: {e}")),
        }
    }
}

/// Where to find the system.
struct Context {
    root: Root,
}

impl Context {
    fn handle(&self) -> Result<Handle, Fatal> {
        Handle::open(&self.root).map_err(|e| {
            // EIO is what the socket of a kernel that was killed gives.
            let nobody = matches!(e.errno, Errno::ENOENT | Errno::ECONNREFUSED | Errno::EIO);
            let hint = if nobody && cfg!(not(target_os = "illumos")) {
                format!(" (is fakekerneld running under {}?)", self.root)
            } else {
                String::new()
            };
            Fatal::Text(format!("{e}{hint}"))
        })
    }
}

/// Prints a diagnostic in one write, so that those of commands side by side do not mix.
fn diagnose(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = io::stderr().write_all(format!("dladm: {text}\n").as_bytes());
}

/// Prints a warning.
fn warn(text: impl std::fmt::Display) {
    diagnose(&format!("warning: {text}"));
}

/// Prints the details of a failure as warnings and keeps its status.
fn warn_details(failure: Failure) -> Status {
    failure.details.iter().for_each(warn);
    failure.status
}

/// The text of a fatal diagnostic about an option, with the subcommand's usage.
fn bad_option(name: &str, usage: &str, error: getopt::Error) -> Fatal {
    Fatal::Text(format!("{error}\nusage: {name} {usage}"))
}

fn usage_text() -> String {
    let mut text = "usage: dladm [-R root] subcommand [args] ...\n".to_owned();
    for c in &COMMANDS {
        text += &format!("    {:<15} {}\n", c.name, c.usage);
    }
    text
}

/// Reads the words up to the subcommand and runs it.
fn run(words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut words = words.into_iter();
    let mut dir = None;
    let name = loop {
        match words.next() {
            None => return Err(Fatal::Usage),
            Some(w) if w == "-R" => dir = Some(PathBuf::from(words.next().ok_or(Fatal::Usage)?)),
            Some(w) if w.starts_with("-R") => dir = Some(PathBuf::from(&w[2..])),
            Some(w) if matches!(w.as_str(), "--help" | "-h" | "-?" | "help") => {
                io::stdout().write_all(usage_text().as_bytes()).map_err(Fatal::from)?;
                return Ok(ExitCode::SUCCESS);
            }
            Some(w) => break w,
        }
    };
    let Some(command) = COMMANDS.iter().find(|c| c.name == name) else {
        diagnose(&format!("unknown subcommand '{name}'"));
        return Err(Fatal::Usage);
    };
    let context = Context { root: Root::from_env_or(dir) };
    (command.run)(&context, words.collect())
}

/// The whole program; `args` start with its name. A library function, so that the lab holds this
/// program too.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = args.into_iter().skip(1).map(|w| w.into_string());
    let result = match words.collect::<Result<Vec<String>, _>>() {
        Ok(words) => run(words),
        Err(word) => Err(Fatal::Text(format!("argument is not text: {}", word.display()))),
    };
    match result {
        Ok(code) => return code,
        Err(Fatal::Text(text)) => diagnose(&text),
        Err(Fatal::Usage) => eprint!("{}", usage_text()),
        Err(Fatal::BrokenPipe) => {}
    }
    ExitCode::FAILURE
}
