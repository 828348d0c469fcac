// SPDX-License-Identifier: CDDL-1.0
//! Call stacks, taken cheaply as addresses and named only when somebody reads them.
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Frames kept: enough to leave fakekernel and ddi and name a few of the driver's functions.
const DEPTH: usize = 20;

/// The return addresses of the calling thread, innermost first.
#[derive(Clone)]
pub(crate) struct Stack {
    ips: Box<[usize]>,
}

/// What a frame's address means.
#[derive(Clone, Default)]
struct Named {
    /// Functions inlined there, innermost first, without those that only look at or after the call.
    functions: Vec<String>,
    /// The kernel module whose source (or loaded text) it is; "" for code that belongs to no
    /// module.
    module: Option<Arc<str>>,
}

static NAMES: Mutex<Option<HashMap<usize, Named>>> = Mutex::new(None);
static TEXTS: Mutex<Vec<(std::ops::Range<usize>, Arc<str>)>> = Mutex::new(Vec::new());

/// Crates under kernel/ that are not modules: their frames are passed over when looking for one.
const NOT_MODULES: [&str; 3] = ["fakekernel", "ddi", "illumos-sys-hdrs"];

/// Tells whose code lies at `text`: for modules that are loaded instead of linked.
pub fn register_text(text: std::ops::Range<usize>, module: &str) {
    TEXTS.lock().push((text, module.into()));
    *NAMES.lock() = None;
}

/// Forgets what [`register_text`] said about the text starting at `start`.
pub fn unregister_text(start: usize) {
    TEXTS.lock().retain(|(r, _)| r.start != start);
    *NAMES.lock() = None;
}

impl Stack {
    /// The stack of the caller.
    pub(crate) fn here() -> Stack {
        let mut ips = [0; DEPTH];
        let mut n = 0;
        // SAFETY: the unsynchronised form differs only on Windows; the closure does not unwind.
        unsafe {
            backtrace::trace_unsynchronized(|f| {
                if let Some(slot) = ips.get_mut(n) {
                    *slot = f.ip() as usize;
                }
                n += 1;
                n < DEPTH
            });
        }
        Stack { ips: ips[..n.min(DEPTH)].into() }
    }

    fn named<R>(&self, mut each: impl FnMut(&Named) -> Option<R>) -> Option<R> {
        let mut names = NAMES.lock();
        let names = names.get_or_insert_default();
        self.ips.iter().find_map(|&ip| each(names.entry(ip).or_insert_with(|| name(ip))))
    }

    /// The module whose code called: the innermost frame that is neither fakekernel's nor ddi's.
    pub(crate) fn module(&self) -> Option<Arc<str>> {
        self.named(|n| n.module.clone())
    }

    /// A number that is equal for equal call sites outside fakekernel: the lock class of an unnamed
    /// lock.
    pub(crate) fn site(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut h = DefaultHasher::new();
        let mut left = 3;
        self.named(|n| {
            if !n.functions.is_empty() {
                n.functions.hash(&mut h);
                left -= 1;
            }
            (left == 0).then_some(())
        });
        h.finish()
    }
}

/// Whether a frame is of what takes the stack or of the kernel function that was called.
fn internal(file: &str) -> bool {
    file.contains("/backtrace-")
        || (file.contains("kernel/fakekernel/src/") && !file.contains("/src/net/"))
}

fn name(ip: usize) -> Named {
    let mut out = Named::default();
    if let Some((r, m)) = TEXTS.lock().iter().find(|(r, _)| r.contains(&ip)) {
        let at = format!("{m}+{:#x}", ip - r.start);
        return Named { functions: vec![at], module: Some(m.clone()) };
    }
    // The address is where the call returns to; the call itself is before it.
    backtrace::resolve(std::ptr::without_provenance_mut(ip.saturating_sub(1)), |s| {
        let file = s.filename().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        if let (Some(n), false) = (s.name(), internal(&file)) {
            out.functions.push(format!("{n:#}"));
        }
        if out.module.is_none() {
            out.module = module_of(&file).map(Into::into);
        }
    });
    out
}

/// The module a source file belongs to: `kernel/MODULE/src/...`.
fn module_of(file: &str) -> Option<&str> {
    let (krate, _) = file.rsplit_once("/src/")?;
    let (dir, name) = krate.rsplit_once('/')?;
    let of_kernel = dir == "kernel" || dir.ends_with("/kernel");
    (of_kernel && !NOT_MODULES.contains(&name)).then_some(name)
}

/// `a <- b <- c`, without the kernel's own frames and without what lies above main or a thread's
/// start.
impl std::fmt::Display for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        let mut count = 0;
        self.named(|n| {
            for function in &n.functions {
                if function.contains("__rust_begin_short_backtrace") || count == 8 {
                    return Some(());
                }
                let sep = if count == 0 { "" } else { " <- " };
                let _ = write!(out, "{sep}{function}");
                count += 1;
            }
            None
        });
        f.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::module_of;

    #[test]
    fn modules_are_known_by_their_source() {
        assert_eq!(module_of("/home/kernel/x/kernel/overlay/src/target/mod.rs"), Some("overlay"));
        assert_eq!(module_of("kernel/vxlan/src/lib.rs"), Some("vxlan"));
        for other in [
            "/x/kernel/ddi/src/kmem.rs",
            "/x/kernel/fakekernel/src/net/mac.rs",
            "/x/kernel/overlay/tests/it/common.rs",
            "/rustc/123/library/core/src/ptr/mod.rs",
            "/x/cmd/fakekerneld/src/main.rs",
        ] {
            assert_eq!(module_of(other), None, "{other}");
        }
    }
}
