// SPDX-License-Identifier: CDDL-1.0
//! Where a host's `/` is.

use std::path::{Path, PathBuf};

/// The directory under which a host's `/dev`, `/var` and `/etc` lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// `dir` (a program's `-R`), else `$OVERLAY_ROOT`, else `$XDG_RUNTIME_DIR/illumos-overlay`,
    /// else `/tmp/illumos-overlay-UID`. An empty variable counts as unset. On illumos, where the
    /// host is the one the program runs on: `dir`, else `/`.
    #[cfg(target_os = "illumos")]
    pub fn from_env_or(dir: Option<PathBuf>) -> Root {
        Root(dir.unwrap_or_else(|| "/".into()))
    }

    /// `dir` (a program's `-R`), else `$OVERLAY_ROOT`, else `$XDG_RUNTIME_DIR/illumos-overlay`,
    /// else `/tmp/illumos-overlay-UID`. An empty variable counts as unset. On illumos, where the
    /// host is the one the program runs on: `dir`, else `/`.
    #[cfg(not(target_os = "illumos"))]
    pub fn from_env_or(dir: Option<PathBuf>) -> Root {
        let uid = rustix::process::geteuid().as_raw();
        Self::choose(
            dir,
            std::env::var_os("OVERLAY_ROOT"),
            std::env::var_os("XDG_RUNTIME_DIR"),
            uid,
        )
    }

    #[cfg(not(target_os = "illumos"))]
    fn choose(
        dir: Option<PathBuf>,
        root: Option<std::ffi::OsString>,
        run: Option<std::ffi::OsString>,
        uid: u32,
    ) -> Root {
        let set = |v: Option<std::ffi::OsString>| v.filter(|v| !v.is_empty()).map(PathBuf::from);
        Root(
            dir.or_else(|| set(root))
                .or_else(|| set(run).map(|d| d.join("illumos-overlay")))
                .unwrap_or_else(|| format!("/tmp/illumos-overlay-{uid}").into()),
        )
    }

    /// The file that a program on that host calls `path`.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn order_of_choice() {
        let v = |s: &str| Some(OsString::from(s));
        let choose = |dir: Option<&str>, root, run| {
            Root::choose(dir.map(PathBuf::from), root, run, 7).0.to_str().unwrap().to_owned()
        };
        assert_eq!(choose(Some("/r"), v("/e"), v("/x")), "/r");
        assert_eq!(choose(None, v("/e"), v("/x")), "/e");
        assert_eq!(choose(None, v(""), v("/x")), "/x/illumos-overlay");
        assert_eq!(choose(None, None, v("")), "/tmp/illumos-overlay-7");
    }

    #[test]
    fn paths_lie_below_the_root() {
        let root = Root("/r".into());
        assert_eq!(root.path("/dev/overlay"), Path::new("/r/dev/overlay"));
        assert_eq!(root.path("dev/dld"), Path::new("/r/dev/dld"));
    }
}
