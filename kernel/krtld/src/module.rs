// SPDX-License-Identifier: CDDL-1.0
//! A module file that fakekernel can load.
use crate::file::File;
use crate::link::{self, Defined, Exports, Import};
use crate::map::Map;
use crate::refusal::{Refusal, Rule};
use crate::sdt::Placed;
use crate::unwind::Frames;
use fakekernel::host::{Entries, ModuleFile, Refused};
use overlay_abi::errno::Errno;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Global symbols of the modules that are mapped, by module.
static LOADED: Mutex<BTreeMap<String, BTreeMap<String, Import>>> = Mutex::new(BTreeMap::new());

/// A module in a file: what [`Kernel::register_module_file`] takes.
///
/// It is read when it is loaded, and each time anew.
///
/// [`Kernel::register_module_file`]: fakekernel::host::Kernel::register_module_file
pub struct Module {
    name: String,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Between `read` and `map`.
    bytes: Option<Vec<u8>>,
    mapped: Option<Mapped>,
    refusal: Option<Refusal>,
}

/// A module in memory. Fields drop in this order.
struct Mapped {
    _sites: Vec<Placed>,
    _frames: Option<Frames>,
    symbols: BTreeMap<String, Defined>,
    probes: Vec<(String, usize)>,
    map: Map,
}

impl Module {
    /// The file `path` as the module `name` (`drv/overlay`).
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Arc<Module> {
        Arc::new(Module { name: name.into(), path: path.into(), state: Mutex::default() })
    }

    /// Why the file was not loaded the last time that was tried.
    pub fn refusal(&self) -> Option<Refusal> {
        self.state().refusal.clone()
    }

    /// Address of a symbol, global or local, while the module is loaded.
    pub fn symbol(&self, name: &str) -> Option<usize> {
        Some(self.state().mapped.as_ref()?.symbols.get(name)?.addr)
    }

    /// Probes of the loaded module and where they are: (`__dtrace_probe_overlay__tx`, address).
    pub fn probes(&self) -> Vec<(String, usize)> {
        self.state().mapped.as_ref().map(|m| m.probes.clone()).unwrap_or_default()
    }

    /// Where the loaded module's text lies.
    pub fn text(&self) -> Option<std::ops::Range<usize>> {
        Some(self.state().mapped.as_ref()?.map.text())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn base_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    fn refused(&self, refusal: Refusal) -> Refused {
        let text = format!("{}: {refusal}", self.path.display());
        self.state().refusal = Some(refusal);
        (Errno::ENOEXEC, text)
    }

    fn load(&self, bytes: &[u8]) -> Result<(Entries, Mapped), Refusal> {
        let file = File::parse(bytes)?;
        let linked = link::link(&file, &Kernel)?;
        linked.map.seal()?;
        for symbol in &linked.multiply_defined {
            fakekernel::log::warning(&format!("{}: {symbol} is multiply defined", self.name));
        }
        let text = linked.map.text();
        let mapped = Mapped {
            _frames: linked.framed.then(|| Frames::register(&text)),
            _sites: linked.probes.iter().map(|(name, at)| Placed::new(name, *at)).collect(),
            symbols: linked.symbols,
            probes: linked.probes,
            map: linked.map,
        };
        // SAFETY: link made sure that these are functions of the module's text; what they take is
        // laid down by _init(9E), _fini(9E), _info(9E).
        let entries = unsafe {
            Entries {
                init: std::mem::transmute::<usize, unsafe extern "C" fn() -> i32>(
                    mapped.addr("_init")?,
                ),
                fini: std::mem::transmute::<usize, unsafe extern "C" fn() -> i32>(
                    mapped.addr("_fini")?,
                ),
                info: std::mem::transmute::<usize, unsafe extern "C" fn(*mut _) -> i32>(
                    mapped.addr("_info")?,
                ),
            }
        };
        Ok((entries, mapped))
    }
}

impl Mapped {
    fn addr(&self, name: &str) -> Result<usize, Refusal> {
        let symbol = self.symbols.get(name);
        symbol.map(|s| s.addr).ok_or_else(|| Rule::Entry.at(format!("symbol {name}")))
    }
}

impl ModuleFile for Module {
    fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Vec<String>, Refused> {
        self.state().refusal = None;
        let bytes = std::fs::read(&self.path).map_err(|e| {
            let errno = Errno::from_host(e.raw_os_error().unwrap_or(libc::EIO));
            (errno, format!("{}: {e}", self.path.display()))
        })?;
        let needs = File::parse(&bytes).map(|f| f.needs).map_err(|e| self.refused(e))?;
        self.state().bytes = Some(bytes);
        Ok(needs)
    }

    fn map(&self) -> Result<Entries, Refused> {
        let bytes = self.state().bytes.take().unwrap_or_default();
        let (entries, mapped) = self.load(&bytes).map_err(|e| self.refused(e))?;
        fakekernel::register_text(mapped.map.text(), self.base_name());
        let exports = mapped
            .symbols
            .iter()
            .filter(|(_, s)| s.global)
            .map(|(name, s)| (name.clone(), Import { addr: s.addr, function: s.function }))
            .collect();
        loaded().insert(self.name.clone(), exports);
        self.state().mapped = Some(mapped);
        Ok(entries)
    }

    fn symbol(&self, name: &str) -> Option<usize> {
        Some(loaded().get(&self.name)?.get(name)?.addr)
    }

    fn unmap(&self) {
        loaded().remove(&self.name);
        let mapped = self.state().mapped.take();
        if let Some(mapped) = mapped {
            fakekernel::unregister_text(mapped.map.text().start);
        }
    }
}

fn loaded() -> MutexGuard<'static, BTreeMap<String, BTreeMap<String, Import>>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// fakekernel's modules, and those loaded here.
struct Kernel;

impl Kernel {
    fn own() -> &'static HashMap<&'static str, fakekernel::symbols::Symbol> {
        static OWN: OnceLock<HashMap<&'static str, fakekernel::symbols::Symbol>> = OnceLock::new();
        OWN.get_or_init(|| fakekernel::symbols().iter().map(|s| (s.name, *s)).collect())
    }
}

impl Exports for Kernel {
    fn find(&self, module: &str, symbol: &str) -> Option<Import> {
        if let Some(i) = loaded().get(module).and_then(|m| m.get(symbol)) {
            return Some(*i);
        }
        let s = Kernel::own().get(symbol).filter(|s| s.module == module)?;
        Some(Import { addr: s.addr(), function: s.function })
    }

    fn provider(&self, symbol: &str) -> Option<String> {
        if let Some(s) = Kernel::own().get(symbol) {
            return Some(s.module.to_string());
        }
        loaded().iter().find(|(_, m)| m.contains_key(symbol)).map(|(name, _)| name.clone())
    }
}
