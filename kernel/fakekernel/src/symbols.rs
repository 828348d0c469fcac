// SPDX-License-Identifier: CDDL-1.0
//! The table of everything this kernel exports, for a loader of module files.
use std::sync::OnceLock;

/// One exported name.
#[derive(Clone, Copy, Debug)]
pub struct Symbol {
    /// C name.
    pub name: &'static str,
    addr: *const (),
    /// The module a loaded file must depend on to import it; `unix` and `genunix` are always there.
    pub module: &'static str,
    /// A function can be reached by way of a jump, data cannot.
    pub function: bool,
}

// SAFETY: the address is a constant, of a function or of data that synchronises itself.
unsafe impl Sync for Symbol {}
// SAFETY: as above.
unsafe impl Send for Symbol {}

impl Symbol {
    /// A function, as an entry of a table.
    pub const fn function(name: &'static str, addr: *const (), module: &'static str) -> Symbol {
        Symbol { name, addr, module, function: true }
    }

    /// A data object, as an entry of a table.
    pub const fn data(name: &'static str, addr: *const (), module: &'static str) -> Symbol {
        Symbol { name, addr, module, function: false }
    }

    /// Where it is.
    pub fn addr(&self) -> usize {
        self.addr as usize
    }
}

/// `symbols! { TABLE "module": function, ..., ; static, ... }` makes the table of a source file.
#[macro_export]
macro_rules! symbols {
    ($table:ident $module:literal: $($f:ident,)* $(; $($d:ident,)*)?) => {
        /// What this file exports.
        pub(crate) const $table: &[$crate::symbols::Symbol] = &[
            $($crate::symbols::Symbol::function(stringify!($f), $f as *const (), $module),)*
            $($($crate::symbols::Symbol::data(stringify!($d), (&raw const $d).cast(), $module),)*)?
        ];
    };
}

/// Functions a module imports from unix that libc defines under the same name with the same
/// meaning.
macro_rules! from_libc {
    ($($f:ident)*) => {
        mod c {
            unsafe extern "C" { $(pub(super) fn $f();)* }
        }
        const LIBC: &[Symbol] =
            &[$(Symbol::function(stringify!($f), c::$f as *const (), "unix"),)*];
    };
}
from_libc! {
    bcmp bcopy bzero htonl htons memchr memcmp memcpy memmove memset ntohl ntohs snprintf strchr
    strcmp strlen strncmp strnlen vsnprintf
}

/// Every exported symbol.
pub fn symbols() -> &'static [Symbol] {
    static ALL: OnceLock<Vec<Symbol>> = OnceLock::new();
    ALL.get_or_init(|| {
        let tables = [
            LIBC,
            crate::avl::SYMBOLS,
            crate::callout::SYMBOLS,
            crate::cred::SYMBOLS,
            crate::cv::SYMBOLS,
            crate::devinfo::SYMBOLS,
            crate::fm::SYMBOLS,
            crate::id_space::SYMBOLS,
            crate::inet::HOOK_SYMBOLS,
            crate::inet::IP_SYMBOLS,
            crate::inet::NETI_SYMBOLS,
            crate::inet::netstack::SYMBOLS,
            crate::kmem::SYMBOLS,
            crate::kstat::SYMBOLS,
            crate::list::SYMBOLS,
            crate::log::SYMBOLS,
            crate::mblk::SYMBOLS,
            crate::module::SYMBOLS,
            crate::mutex::SYMBOLS,
            crate::offload::SYMBOLS,
            crate::refhash::SYMBOLS,
            crate::rwlock::SYMBOLS,
            crate::soft_state::SYMBOLS,
            crate::streams::IOCTL_SYMBOLS,
            crate::streams::QUEUE_SYMBOLS,
            crate::taskq::SYMBOLS,
            crate::text::SYMBOLS,
            crate::time::SYMBOLS,
            crate::user::SYMBOLS,
            crate::net::dld::SYMBOLS,
            crate::net::dls::SYMBOLS,
            crate::net::ksocket::SYMBOLS,
            crate::net::mac::SYMBOLS,
            crate::net::mac::header::SYMBOLS,
            crate::net::mac::prop::SYMBOLS,
        ];
        tables.concat()
    })
}
