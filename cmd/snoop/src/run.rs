// SPDX-License-Identifier: CDDL-1.0
//! A capture, from its beginning to the counts at its end.

use crate::cli::Cli;
use crate::decode::{Decoder, Layer};
use crate::file::{self, Counts, Interface, Writer};
use crate::filter::{self, Filter};
use crate::flows::Flows;
use crate::names::{Hosts, Machine};
use crate::packet::Packet;
use crate::show::{Seen, Show};
use crate::source::{self, Feed, Place, Progress, Source};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(250);

/// Why a capture ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Filter(#[from] filter::Error),
    #[error("{0}")]
    Source(#[from] source::Error),
    #[error("name a link (-d), an IP interface (-I) or a file (-i); --help shows all options")]
    NoSource,
    #[error("{}: {error}{}", path.display(), room(error))]
    Output { path: PathBuf, error: file::Error },
    #[error("{}: packets are read from this file; name another with -o", .0.display())]
    SameFile(PathBuf),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// What is left of a file that may not grow.
fn room(error: &file::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        file::Error::Io(e) if [FileTooLarge, QuotaExceeded, StorageFull].contains(&e.kind()) => {
            "; the packets before are in it"
        }
        _ => "",
    }
}

impl Error {
    pub fn is_broken_pipe(&self) -> bool {
        let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
        match self {
            Error::Write(e) => broken(e),
            Error::Output { error: file::Error::Io(e), .. } => broken(e),
            _ => false,
        }
    }
}

pub fn run(cli: &Cli) -> Result<(), Error> {
    let filter = Filter::parse(&cli.filter.join(" "), &Machine)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    // A file that may not grow any more is told as an error of writing, instead of by an end.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let sources = sources(cli)?;
    let live = !cli.links.is_empty() || !cli.interfaces.is_empty();
    let many = sources.len() > 1;
    let sink = Sink::new(cli, live, many)?;
    let mut capture =
        Capture { feed: Feed::start(sources, stop), sink, taken: Vec::new(), failed: None };
    capture.taken.resize(capture.feed.progress().len(), 0);
    let done = capture.packets(cli, &filter);
    let counts: Vec<_> =
        capture.feed.progress().iter().zip(capture.taken).filter_map(counts).collect();
    let done = done.and_then(|()| capture.sink.end(&counts));
    if !cli.quiet {
        counts.iter().for_each(report);
    }
    done?;
    capture.failed.map_or(Ok(()), |e| Err(e.into()))
}

/// A capture that runs.
struct Capture {
    feed: Feed,
    sink: Sink,
    /// Packets that the filter let through, of each source.
    taken: Vec<u64>,
    /// The last source to fail; the others go on.
    failed: Option<source::Error>,
}

impl Capture {
    /// All packets, until there are enough.
    fn packets(&mut self, cli: &Cli, filter: &Filter) -> Result<(), Error> {
        let mut decoder = Decoder::default();
        let mut number = 0;
        while number < cli.count.unwrap_or(u64::MAX) {
            let (from, mut packet) = match self.feed.packet() {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(e) => {
                    if let Some(before) = self.failed.replace(e) {
                        eprintln!("snoop: {before}");
                    }
                    continue;
                }
            };
            if let Some(most) = cli.snaplen {
                packet.truncate(most as usize);
            }
            let layers = decoder.decode(&packet);
            if !filter.is_true(&packet, &layers) {
                continue;
            }
            number += 1;
            self.taken[from] += 1;
            self.sink.packet(number, &self.feed.progress()[from], &packet, &layers)?;
        }
        Ok(())
    }
}

/// All that the command line names.
fn sources(cli: &Cli) -> Result<Vec<Box<dyn Source>>, Error> {
    let mut sources = Vec::new();
    for path in &cli.files {
        sources.push(source::file(path)?);
    }
    let place = Place::new(cli.root.as_deref(), cli.zone.as_deref());
    for name in &cli.links {
        sources.push(place.link(name, !cli.passive)?);
    }
    for name in &cli.interfaces {
        sources.push(place.interface(name, !cli.passive)?);
    }
    if sources.is_empty() { Err(Error::NoSource) } else { Ok(sources) }
}

/// What became of a source that is live.
fn counts((progress, packets): (&Arc<Progress>, u64)) -> Option<(Interface, Counts)> {
    let interface = Interface { name: progress.name.clone(), link: progress.link? };
    Some((interface, Counts { packets, dropped: progress.dropped() }))
}

fn report((interface, counts): &(Interface, Counts)) {
    let dropped = match counts.dropped {
        Some(n) => format!("{n} dropped"),
        None => "dropped ones are not counted".into(),
    };
    eprintln!("{}: {} packets, {dropped}", interface.name, counts.packets);
}

/// Whether two paths lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    let file = |p: &Path| std::fs::metadata(p).map(|m| (m.dev(), m.ino())).ok();
    file(a).is_some_and(|f| Some(f) == file(b))
}

/// What becomes of the packets that the filter lets through.
enum Sink {
    Show { show: Box<Show>, to: Box<dyn Write>, many: bool },
    File { writer: Writer<BufWriter<File>>, path: PathBuf, shown: Option<Instant> },
    Flows { flows: Flows, hosts: Hosts, json: bool },
}

impl Sink {
    fn new(cli: &Cli, live: bool, many: bool) -> Result<Sink, Error> {
        let hosts = match cli.numeric {
            true => Hosts::default(),
            false => Hosts::read(Path::new("/etc/hosts")),
        };
        if cli.flows {
            return Ok(Sink::Flows { flows: Flows::default(), hosts, json: cli.json });
        }
        let Some(path) = &cli.output else {
            // Line by line, for who watches; a file's packets are all there at once.
            let to: Box<dyn Write> = match live {
                true => Box::new(io::stdout()),
                false => Box::new(BufWriter::new(io::stdout())),
            };
            let show = Show::new(cli.detail(), cli.bytes, cli.time, hosts);
            return Ok(Sink::Show { show: Box::new(show), to, many });
        };
        if cli.files.iter().any(|from| is_same(from, path)) {
            return Err(Error::SameFile(path.clone()));
        }
        let file = File::create(path)
            .map_err(|e| Error::Output { path: path.clone(), error: e.into() })?;
        let writer = Writer::new(BufWriter::new(file), path, cli.snaplen.unwrap_or(0));
        let shown = (live && !cli.quiet && io::stderr().is_terminal()).then(Instant::now);
        Ok(Sink::File { writer, path: path.clone(), shown })
    }

    fn packet(
        &mut self,
        number: u64,
        source: &Progress,
        packet: &Packet,
        layers: &[Layer<'_>],
    ) -> Result<(), Error> {
        match self {
            Sink::Show { show, to, many } => {
                let source = many.then_some(source.name.as_str());
                let text = show.packet(&Seen { number, source, packet, layers });
                to.write_all(text.as_bytes())?;
            }
            Sink::File { writer, path, shown } => {
                let from = Interface { name: source.name.clone(), link: packet.link };
                writer
                    .packet(&from, packet, source.dropped().unwrap_or(0))
                    .map_err(|error| Error::Output { path: path.clone(), error })?;
                if shown.is_some_and(|t| t.elapsed() >= PROGRESS) {
                    *shown = Some(Instant::now());
                    let dropped =
                        source.dropped().map_or(String::new(), |n| format!(", {n} dropped"));
                    eprint!("\r{number} packets{dropped} ");
                }
            }
            Sink::Flows { flows, .. } => flows.add(layers, packet.length),
        }
        Ok(())
    }

    fn end(self, counts: &[(Interface, Counts)]) -> Result<(), Error> {
        match self {
            Sink::Show { mut to, .. } => Ok(to.flush()?),
            Sink::File { writer, path, shown } => {
                if shown.is_some() {
                    // The counts come in the place of the progress.
                    eprint!("\r\x1b[K");
                }
                writer.end(counts).map_err(|error| Error::Output { path, error })
            }
            Sink::Flows { flows, hosts, json } => {
                let text = if json { flows.json(&hosts) } else { flows.table(&hosts) };
                Ok(io::stdout().write_all(text.as_bytes())?)
            }
        }
    }
}
