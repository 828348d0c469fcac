// SPDX-License-Identifier: CDDL-1.0
//! `libvarpd_plugin_bunyan`: a logger of the system's libbunyan for plugins that log with it.
//!
//! The original has the function in a header of one tree and in no mapfile, so that a plugin that
//! calls it could not be loaded. Such a plugin is linked with libbunyan, whose functions it calls
//! with what it gets here, so it must be one of that library's own loggers, not ours. It is opened
//! when it is first asked for; where there is none, the answer is NULL.
use super::{LOG, complain, provider};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use overlay_abi::provider::varpd_provider_handle_t;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// `bunyan_logger_t`, opaque.
#[repr(C)]
pub struct bunyan_logger_t {
    opaque: [u8; 0],
}

type Init = unsafe extern "C" fn(*const c_char, *mut *mut bunyan_logger_t) -> c_int;
type Stream = unsafe extern "C" fn(*mut c_void, *const c_char, *mut c_void) -> c_int;
type StreamAdd = unsafe extern "C" fn(
    *mut bunyan_logger_t,
    *const c_char,
    c_int,
    Option<Stream>,
    *mut c_void,
) -> c_int;

/// `BUNYAN_L_INFO`
const INFO: c_int = 30;
/// The stream's argument is a file descriptor.
const STDERR: usize = 2;

/// The process' logger, which is safe to use from all threads.
struct Logger(*mut bunyan_logger_t);

// SAFETY: libbunyan says that a logger may be used by several threads at once.
unsafe impl Send for Logger {}
// SAFETY: as above.
unsafe impl Sync for Logger {}

/// A logger of libbunyan with the name `varpd`, which writes to standard error from INFO on. NULL
/// without libbunyan, or for an unknown handle.
#[unsafe(no_mangle)]
pub extern "C" fn libvarpd_plugin_bunyan(
    handle: *mut varpd_provider_handle_t,
) -> *const bunyan_logger_t {
    static LOGGER: OnceLock<Option<Logger>> = OnceLock::new();
    if provider("libvarpd_plugin_bunyan", handle).is_none() {
        return std::ptr::null();
    }
    let logger = LOGGER.get_or_init(|| match open(c"varpd") {
        Ok(logger) => Some(logger),
        Err(e) => {
            complain("libvarpd_plugin_bunyan", "no libbunyan to log with");
            if let Some(log) = LOG.get() {
                slog::warn!(log, "no logger for plugins"; "error" => e);
            }
            None
        }
    });
    logger.as_ref().map_or(std::ptr::null(), |l| l.0)
}

fn open(name: &CStr) -> Result<Logger, String> {
    // SAFETY: the system's library, whose initialization is its own.
    let library = unsafe { Library::open(Some("libbunyan.so.1"), RTLD_LOCAL | RTLD_NOW) };
    let library = library.map_err(|e| e.to_string())?;
    // SAFETY: the types are those of bunyan.h.
    let functions = unsafe {
        library.get::<Init>(b"bunyan_init\0").and_then(|init| {
            let add = library.get::<StreamAdd>(b"bunyan_stream_add\0")?;
            let stream = library.get::<Stream>(b"bunyan_stream_fd\0")?;
            Ok((*init, *add, *stream))
        })
    };
    let (init, add, stream) = functions.map_err(|e| e.to_string())?;
    // Its code stays.
    let _ = library.into_raw();
    let mut logger = std::ptr::null_mut();
    // SAFETY: C strings, an out pointer, and a stream with its descriptor for argument.
    let code = unsafe {
        match init(name.as_ptr(), &mut logger) {
            0 => {
                let fd = std::ptr::without_provenance_mut(STDERR);
                add(logger, c"stderr".as_ptr(), INFO, Some(stream), fd)
            }
            code => code,
        }
    };
    match code {
        0 => Ok(Logger(logger)),
        code => Err(std::io::Error::from_raw_os_error(code).to_string()),
    }
}
