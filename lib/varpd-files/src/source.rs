// SPDX-License-Identifier: CDDL-1.0
//! Reading the file, and telling what is wrong with it.
use crate::config::{self, Link, Outcome};
use crate::index::Index;
use crate::report::Problem;
use overlay_abi::errno::Errno;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex};

/// Largest file in bytes; a million hosts are about 150 MB.
const SIZE_MAX: u64 = 1 << 30;

/// Bunyan lines on standard error, as varpd's are. A line is one write, so that it stays whole.
static LOG: LazyLock<slog::Logger> = LazyLock::new(|| {
    let lines = std::io::LineWriter::with_capacity(1 << 16, std::io::stderr());
    let json = slog_bunyan::with_name("files", lines).build();
    slog::Logger::root(slog::Fuse(Mutex::new(json)), slog::o!())
});

/// Why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// For whoever asked for it.
    pub errno: Errno,
    /// For people: the file, and the first thing that is wrong.
    pub text: String,
}

/// The contents of a file. What is wrong is in the log, too, each problem in a line of its own.
///
/// # Errors
/// Those of open(2) and read(2); `EISDIR`, or `EINVAL` for anything else that is no file; `EFBIG` above
/// 1 GiB; `EPROTO` if it is not JSON, `EINVAL` if it says what cannot be.
pub fn load(path: &str, link: Link) -> Result<Index, Failure> {
    let bytes = read(Path::new(path)).map_err(|errno| {
        let failure = Failure { errno, text: format!("{path}: {errno}") };
        slog::error!(LOG, "cannot read {failure}");
        failure
    })?;
    judge(path, config::parse(&bytes, link))
}

fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    let errno = |e: std::io::Error| Errno::from_host(e.raw_os_error().unwrap_or(libc::EIO));
    // Nonblocking, as opening a FIFO would wait for a writer.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(errno)?;
    let meta = file.metadata().map_err(errno)?;
    if meta.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !meta.is_file() {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(errno)?;
    if bytes.len() as u64 > SIZE_MAX { Err(Errno::EFBIG) } else { Ok(bytes) }
}

/// Logs what came of a file; the first error is told to the caller as well.
fn judge(path: &str, outcome: Outcome) -> Result<Index, Failure> {
    let (errors, total, errno) = match outcome {
        Outcome::Good(index, warnings) => {
            for w in warnings {
                slog::warn!(LOG, "{path}:{w}");
            }
            slog::info!(LOG, "read {path}"; "hosts" => index.len());
            return Ok(index);
        }
        Outcome::Syntax(problem) => (vec![problem], 1, Errno::EPROTO),
        Outcome::Bad(errors, total) => (errors, total, Errno::EINVAL),
    };
    for e in &errors {
        slog::error!(LOG, "{path}:{e}");
    }
    if total > errors.len() {
        slog::error!(LOG, "{path}: {} errors more", total - errors.len());
    }
    Err(Failure { errno, text: summary(path, &errors, total) })
}

fn summary(path: &str, errors: &[Problem], total: usize) -> String {
    let first = errors.first().map(|e| format!("{path}:{e}")).unwrap_or_default();
    match total {
        ..=1 => first,
        n => format!("{first} (and {} more, see the log)", n - 1),
    }
}
