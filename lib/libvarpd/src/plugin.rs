// SPDX-License-Identifier: CDDL-1.0
//! Loading plugins and checking what they register (spec/varpd.md 1.6 and 5.1).
//!
//! A shared object registers itself from its init section, inside of dlopen, on the thread that
//! loads it: there the load in progress is found. It can fail in many ways, none of which stops
//! varpd; each is logged with the file's name. Objects are never unloaded, registered or not, since
//! their code may run anywhere.
use crate::{Error, Varpd, crash, lock, prop};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use overlay_abi::errno::Errno;
use overlay_abi::provider::*;
use overlay_abi::target::{OVERLAY_TARGET_DYNAMIC, OVERLAY_TARGET_POINT};
use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_uint};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Longest name of a plugin in bytes, without the NUL.
const NAME_MAX: usize = 63;

/// A registered plugin. Its functions are there, checked once.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    file: PathBuf,
    version: c_uint,
    pub(crate) kind: Kind,
    pub(crate) ops: Ops,
}

/// A function whose type depends on the version that its plugin registered with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Versioned<A, B> {
    V1(A),
    V2(B),
}

pub(crate) type Default = Versioned<varpd_plugin_default_f, v2::varpd_plugin_default_f>;
pub(crate) type Lookup = Versioned<varpd_plugin_lookup_f, v2::varpd_plugin_lookup_f>;
pub(crate) type Arp = Versioned<varpd_plugin_arp_f, v2::varpd_plugin_arp_f>;
pub(crate) type Dhcp = Versioned<varpd_plugin_dhcp_f, v2::varpd_plugin_dhcp_f>;

/// How a plugin finds destinations.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Point(Default),
    Dynamic(Lookup),
}

/// The functions every plugin has, and those it may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ops {
    pub(crate) create: varpd_plugin_create_f,
    pub(crate) start: varpd_plugin_start_f,
    pub(crate) stop: varpd_plugin_stop_f,
    pub(crate) destroy: varpd_plugin_destroy_f,
    pub(crate) nprops: varpd_plugin_nprops_f,
    pub(crate) propinfo: varpd_plugin_propinfo_f,
    pub(crate) getprop: varpd_plugin_getprop_f,
    pub(crate) setprop: varpd_plugin_setprop_f,
    pub(crate) save: varpd_plugin_save_f,
    pub(crate) restore: varpd_plugin_restore_f,
    pub(crate) arp: Option<Arp>,
    pub(crate) dhcp: Option<Dhcp>,
    pub(crate) report: Option<varpd_plugin_report_f>,
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shared object it is in.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether it registered with version 2, the routed form.
    pub fn is_routed(&self) -> bool {
        self.version == v2::VARPD_VERSION_TWO
    }

    /// Its target mode, `OVERLAY_TARGET_POINT` or `OVERLAY_TARGET_DYNAMIC`.
    pub fn mode(&self) -> u32 {
        match self.kind {
            Kind::Point(_) => OVERLAY_TARGET_POINT,
            Kind::Dynamic(_) => OVERLAY_TARGET_DYNAMIC,
        }
    }

    /// Checks a registration. The error says what is wrong, for the log.
    fn new(
        file: &Path,
        version: c_uint,
        name: &[u8],
        mode: c_uint,
        (kind, ops): (GivenKind, Result<Ops, &'static str>),
    ) -> Result<Plugin, &'static str> {
        let name = std::str::from_utf8(name).map_err(|_| "its name is not text")?;
        if name.is_empty() || name.len() > NAME_MAX || name.contains('/') {
            return Err("its name is empty, longer than 63 bytes, or has a '/'");
        }
        if kind.callbacks != 0 {
            return Err("vpo_callbacks is not 0");
        }
        let kind = match (mode, kind.default, kind.lookup) {
            (OVERLAY_TARGET_POINT, Some(default), None) => Kind::Point(default),
            (OVERLAY_TARGET_DYNAMIC, None, Some(lookup)) => Kind::Dynamic(lookup),
            (OVERLAY_TARGET_POINT, ..) => return Err("point mode wants vpo_default only"),
            (OVERLAY_TARGET_DYNAMIC, ..) => return Err("dynamic mode wants vpo_lookup only"),
            _ => return Err("its mode is neither point nor dynamic"),
        };
        Ok(Plugin { name: name.to_owned(), file: file.to_owned(), version, kind, ops: ops? })
    }
}

/// What a registration says of how destinations are found, not checked.
struct GivenKind {
    callbacks: c_uint,
    default: Option<Default>,
    lookup: Option<Lookup>,
}

fn need<T>(op: Option<T>) -> Result<T, &'static str> {
    op.ok_or("a function is missing")
}

/// Reads an operations vector of either version: they have the same members.
macro_rules! given {
    ($ops:expr, $version:ident, $report:expr) => {{
        let ops = $ops;
        let kind = GivenKind {
            callbacks: ops.vpo_callbacks,
            default: ops.vpo_default.map(Versioned::$version),
            lookup: ops.vpo_lookup.map(Versioned::$version),
        };
        let all = || {
            Ok(Ops {
                create: need(ops.vpo_create)?,
                start: need(ops.vpo_start)?,
                stop: need(ops.vpo_stop)?,
                destroy: need(ops.vpo_destroy)?,
                nprops: need(ops.vpo_nprops)?,
                propinfo: need(ops.vpo_propinfo)?,
                getprop: need(ops.vpo_getprop)?,
                setprop: need(ops.vpo_setprop)?,
                save: need(ops.vpo_save)?,
                restore: need(ops.vpo_restore)?,
                arp: ops.vpo_arp.map(Versioned::$version),
                dhcp: ops.vpo_dhcp.map(Versioned::$version),
                report: $report,
            })
        };
        (kind, all())
    }};
}

/// The load in progress on this thread.
struct Load {
    /// Valid while the load lasts; see [`load`].
    varpd: *const Varpd,
    file: PathBuf,
    /// Who tells of instances of the plugin that is registered next.
    report: Option<varpd_plugin_report_f>,
    /// What came of each registration: a name, or what is wrong.
    outcome: Vec<Result<String, String>>,
}

thread_local! {
    static LOAD: RefCell<Option<Load>> = const { RefCell::new(None) };
}

/// Held while a plugin is loaded, over the whole process.
static LOADING: Mutex<()> = Mutex::new(());

/// Where the plugins of a directory for this data model are: in `64` below it, else in itself.
fn model_dir(dir: &Path) -> PathBuf {
    let own = dir.join("64");
    if own.is_dir() { own } else { dir.to_owned() }
}

/// Loads all plugins of a directory, in order of their names.
pub(crate) fn load_dir(varpd: &Varpd, dir: &Path) -> Result<(), Error> {
    let dir = model_dir(dir);
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            if is_plugin(&entry.file_name()) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    let files = read().map_err(|source| Error::PluginDir { path: dir.clone(), source })?;
    for file in files {
        load(varpd, &file);
    }
    let (_, left_out) = prop::search_values(&varpd.plugins());
    if left_out > 0 {
        slog::warn!(varpd.log, "the possible values of the property search have no room for the \
            names of all plugins, which work nevertheless"; "left_out" => left_out);
    }
    Ok(())
}

fn is_plugin(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".so") && name.len() > ".so".len()
}

/// Loads one shared object.
pub(crate) fn load(varpd: &Varpd, file: &Path) {
    let log = varpd.log.new(slog::o!("plugin" => file.display().to_string()));
    let _one_at_a_time = lock(&LOADING);
    LOAD.set(Some(Load { varpd, file: file.to_owned(), report: None, outcome: Vec::new() }));
    // Whoever may write to the plugin directory is trusted.
    // SAFETY: runs the object's init functions, which is what loading a plugin is.
    let open = || unsafe { Library::open(Some(file), RTLD_LOCAL | RTLD_NOW) };
    let library = crash::inside(&file.to_string_lossy(), "initialization", open);
    let outcome = LOAD.take().map(|load| load.outcome).unwrap_or_default();
    match library {
        // Its code stays, so that no function of it can vanish under a caller.
        Ok(library) => drop(library.into_raw()),
        Err(e) => {
            slog::error!(log, "dlopen failed"; "error" => e.to_string());
            return;
        }
    }
    if outcome.is_empty() {
        slog::error!(log, "loaded, but registered no plugin");
    }
    for registered in outcome {
        match registered {
            Ok(name) => slog::info!(log, "loaded {name}"),
            Err(why) => slog::error!(log, "registration refused: {why}"),
        }
    }
}

/// Registers a plugin with the load in progress on this thread.
///
/// # Errors
/// `EINVAL`: no load in progress, or something is wrong with it; `EEXIST`: the name is taken.
///
/// # Safety
/// Name and functions are NULL or a C string and an operations vector.
pub(crate) unsafe fn register(registration: &varpd_plugin_register_t) -> Result<(), Errno> {
    LOAD.with_borrow_mut(|load| {
        let load = load.as_mut().ok_or(Errno::EINVAL)?;
        // SAFETY: the load lasts, and `load` borrows the Varpd meanwhile.
        let varpd = unsafe { &*load.varpd };
        // SAFETY: forwarded from the caller.
        let checked = unsafe { check(&load.file, registration, load.report.take()) };
        let (errno, outcome) = match checked {
            Err(why) => (Err(Errno::EINVAL), Err(why.to_owned())),
            Ok(plugin) => {
                let name = plugin.name.clone();
                match varpd.add_plugin(plugin) {
                    Ok(()) => (Ok(()), Ok(name)),
                    Err(e) => (Err(e), Err(format!("there is a plugin \"{name}\" already"))),
                }
            }
        };
        load.outcome.push(outcome);
        errno
    })
}

/// Notes who tells of instances of the plugin that the load in progress on this thread registers next;
/// `None` without one.
pub(crate) fn reporter(reporter: varpd_plugin_report_f) -> Option<()> {
    LOAD.with_borrow_mut(|load| load.as_mut().map(|load| load.report = Some(reporter)))
}

/// # Safety
/// As [`register`].
unsafe fn check(
    file: &Path,
    registration: &varpd_plugin_register_t,
    report: Option<varpd_plugin_report_f>,
) -> Result<Plugin, &'static str> {
    let varpd_plugin_register_t { vpr_version, vpr_mode, vpr_name, vpr_ops } = *registration;
    if vpr_name.is_null() {
        return Err("it has no name");
    }
    // SAFETY: not NULL, thus a C string by contract.
    let name = unsafe { CStr::from_ptr(vpr_name) };
    const NONE: &str = "it has no functions";
    let given = match vpr_version {
        VARPD_VERSION_ONE => {
            // SAFETY: NULL or an operations vector of this version by contract.
            given!(unsafe { vpr_ops.as_ref() }.ok_or(NONE)?, V1, report)
        }
        v2::VARPD_VERSION_TWO => {
            let ops = vpr_ops.cast::<v2::varpd_plugin_ops_t>();
            // SAFETY: as above.
            given!(unsafe { ops.as_ref() }.ok_or(NONE)?, V2, report)
        }
        _ => return Err("not a version this varpd knows"),
    };
    Plugin::new(file, vpr_version, name.to_bytes(), vpr_mode, given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_plugins() {
        for (name, is) in [
            ("libvarpd_direct.so", true),
            ("libvarpd_direct.so.1", false),
            (".so", false),
            ("x.so", true),
            ("so", false),
            ("libvarpd_direct.d", false),
        ] {
            assert_eq!(is_plugin(OsStr::new(name)), is, "{name}");
        }
    }
}
