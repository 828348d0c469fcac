// SPDX-License-Identifier: CDDL-1.0
//! The directory of files: written whole or not at all, removed, moved aside.
use super::{Error, SIZE_MAX, file_name, id_of, is_temp, temp_name};
use overlay_abi::ids::VarpdId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Most bytes of one write.
const CHUNK: usize = 4096;

/// A step of writing or removing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The temporary file is made.
    Create,
    /// Its bytes from this one on are written, 4096 of them at most.
    Write(usize),
    /// It is brought to the disk.
    Sync,
    /// It gets its name.
    Rename,
    /// It has its name. An error here is one of rename(2) that came too late.
    Renamed,
    /// The file under its name is brought to the disk.
    SyncNamed,
    /// The directory is.
    SyncDirectory,
    /// Everything is done.
    Done,
    /// A file is removed.
    Remove,
    /// A file is read.
    Read,
}

/// Called before each step: a test may fail the step, or end the process.
pub type Fault = Box<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// A directory of files.
pub struct Store {
    path: PathBuf,
    directory: File,
    fault: Option<Fault>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A file of the directory that is one of ours by its name.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Its name.
    pub(crate) name: String,
    /// The number in the name.
    pub(crate) number: u64,
    /// When it was written, for what that is worth.
    pub(crate) written: SystemTime,
    /// What is in it, at most [`SIZE_MAX`] + 1 bytes.
    pub(crate) bytes: io::Result<Vec<u8>>,
}

impl Store {
    /// Opens a directory.
    ///
    /// # Errors
    /// `NotADirectory`, or `Io`: it cannot be opened.
    pub fn open(path: &Path, fault: Option<Fault>) -> Result<Store, Error> {
        let io = |source| Error::Io { what: "open", path: path.to_owned(), source };
        let directory = File::open(path).map_err(io)?;
        if !directory.metadata().map_err(io)?.is_dir() {
            return Err(Error::NotADirectory(path.to_owned()));
        }
        Ok(Store { path: path.to_owned(), directory, fault })
    }

    fn step(&self, step: Step) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(step))
    }

    /// Puts an instance's file in its place.
    ///
    /// # Errors
    /// `Io`. There is the file that was there before, or, if only the last steps failed, the new one;
    /// never a part of one.
    pub fn write(&self, id: VarpdId, bytes: &[u8]) -> Result<(), Error> {
        let temp = self.path.join(temp_name(id));
        let path = self.path.join(file_name(id));
        let result =
            self.write_temp(&temp, bytes).and_then(|file| self.commit(&file, &temp, &path));
        result.map_err(|source| {
            // There is none any more if it has its name by now.
            let _ = fs::remove_file(&temp);
            Error::Io { what: "write", path, source }
        })
    }

    fn write_temp(&self, temp: &Path, bytes: &[u8]) -> io::Result<File> {
        self.step(Step::Create)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(temp)?;
        for (n, chunk) in bytes.chunks(CHUNK).enumerate() {
            self.step(Step::Write(n * CHUNK))?;
            file.write_all(chunk)?;
        }
        self.step(Step::Sync)?;
        file.sync_all()?;
        Ok(file)
    }

    fn commit(&self, file: &File, temp: &Path, path: &Path) -> io::Result<()> {
        self.step(Step::Rename)?;
        while let Err(e) = fs::rename(temp, path).and_then(|()| self.step(Step::Renamed)) {
            // An interrupted one may have happened, and must not be asked for again then.
            if e.kind() != ErrorKind::Interrupted {
                return Err(e);
            }
            if !temp.exists() {
                break;
            }
        }
        self.step(Step::SyncNamed)?;
        file.sync_all()?;
        self.step(Step::SyncDirectory)?;
        self.directory.sync_all()?;
        self.step(Step::Done)
    }

    /// Removes an instance's file, if there is one.
    ///
    /// # Errors
    /// `Io`
    pub fn remove(&self, id: VarpdId) -> Result<(), Error> {
        self.remove_name(&file_name(id))
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove_name(&self, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        let removed = self.step(Step::Remove).and_then(|()| fs::remove_file(&path));
        match removed.and_then(|()| self.directory.sync_all()) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| Error::Io { what: "remove", path, source }),
        }
    }

    /// Removes what was left by varpds that died while they wrote; how many files that were.
    pub(crate) fn clean(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for name in self.names()?.iter().filter(|name| is_temp(name)) {
            self.remove_name(name)?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Reads the files that are ours by their name, in order of the numbers in them. Others, and
    /// those that are no plain files, are left alone.
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let mut found = Vec::new();
        for name in self.names()? {
            let Some(number) = id_of(&name) else { continue };
            let path = self.path.join(&name);
            // A link or a pipe is nobody's to open.
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_file() => {
                    let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    let bytes = self.read(&name);
                    found.push(Candidate { name, number, written, bytes });
                }
                _ => {}
            }
        }
        found.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Ok(found)
    }

    /// At most [`SIZE_MAX`] + 1 bytes of a file.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.step(Step::Read)?;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives a file another name, which begins with its own; returns it.
    pub(crate) fn move_aside(&self, name: &str, why: &str) -> Result<String, Error> {
        let path = self.path.join(name);
        let mut to = format!("{name}.{why}");
        let mut n = 1;
        while self.path.join(&to).symlink_metadata().is_ok() {
            n += 1;
            to = format!("{name}.{why}.{n}");
        }
        match fs::rename(&path, self.path.join(&to)) {
            Ok(()) => Ok(to),
            Err(source) => Err(Error::Io { what: "rename", path, source }),
        }
    }

    /// Gives a file the name that belongs to its instance, unless another one has it. `false` then.
    pub(crate) fn right_name(&self, name: &str, id: VarpdId) -> Result<bool, Error> {
        let (path, right) = (self.path.join(name), self.path.join(file_name(id)));
        if right.symlink_metadata().is_ok() {
            return Ok(false);
        }
        let renamed = fs::rename(&path, right).and_then(|()| self.directory.sync_all());
        renamed.map_err(|source| Error::Io { what: "rename", path, source })?;
        Ok(true)
    }

    /// Names of all files that are text.
    fn names(&self) -> Result<Vec<String>, Error> {
        let names = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        names().map_err(|source| Error::Io { what: "read", path: self.path.clone(), source })
    }
}
