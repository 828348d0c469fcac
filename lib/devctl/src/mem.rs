// SPDX-License-Identifier: CDDL-1.0
//! This process' own memory at addresses that may be bad.
//!
//! The kernel does the access, so that a bad address is an error and not a signal. Where
//! process_vm_readv(2) is forbidden (some container runtimes filter it) the bytes go through a
//! pipe, which checks addresses as well.

use std::io;

use rustix::pipe::{PipeFlags, pipe_with};

/// An address range that is not mapped, or not with the access that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

#[derive(Clone, Copy)]
enum Way {
    Read,
    Write,
}

/// Reads `buf.len()` bytes at `addr`.
pub fn read(addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
    transfer(Way::Read, addr, buf.as_mut_ptr(), buf.len())
}

/// Writes `bytes` at `addr`. After a fault a part of them may be there, as after copyout.
///
/// # Safety
///
/// The memory at `addr` must be the caller's to be written, as for an ioctl that gets this address.
/// It may be unmapped.
pub unsafe fn write(addr: u64, bytes: &[u8]) -> Result<(), Fault> {
    transfer(Way::Write, addr, bytes.as_ptr().cast_mut(), bytes.len())
}

/// `buf` is valid for `len` bytes, and for writing when `way` is Read.
fn transfer(way: Way, addr: u64, buf: *mut u8, len: usize) -> Result<(), Fault> {
    let addr = usize::try_from(addr).map_err(|_| Fault)?;
    if len == 0 {
        return Ok(());
    }
    addr.checked_add(len).ok_or(Fault)?;
    match by_process_vm(way, addr, buf, len) {
        Ok(n) if n == len => Ok(()),
        Ok(_) => Err(Fault),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            by_pipe(way, addr, buf, len).map_err(|_| Fault)
        }
        Err(_) => Err(Fault),
    }
}

fn by_process_vm(way: Way, addr: usize, buf: *mut u8, len: usize) -> io::Result<usize> {
    let local = libc::iovec { iov_base: buf.cast(), iov_len: len };
    let remote =
        libc::iovec { iov_base: std::ptr::with_exposed_provenance_mut(addr), iov_len: len };
    let call = match way {
        Way::Read => libc::process_vm_readv,
        Way::Write => libc::process_vm_writev,
    };
    // SAFETY: `local` is valid as transfer's contract says; `remote` is checked by the kernel, and
    // that it may be written is the promise of write()'s caller.
    let n = unsafe { call(libc::getpid(), &local, 1, &remote, 1, 0) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

fn by_pipe(way: Way, addr: usize, buf: *mut u8, len: usize) -> io::Result<()> {
    // What a fresh pipe takes without blocking, wherever the range begins in its page.
    const STEP: usize = 4096;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut done = 0;
    while done < len {
        let n = (len - done).min(STEP);
        let theirs = std::ptr::with_exposed_provenance_mut::<u8>(addr + done);
        let ours = buf.wrapping_add(done);
        let (from, to) = match way {
            Way::Read => (theirs, ours),
            Way::Write => (ours, theirs),
        };
        use std::os::fd::AsRawFd;
        // SAFETY: of `from` and `to` one lies in the valid buffer, the other is checked by the
        // kernel; see by_process_vm.
        let (w, r) = unsafe {
            let w = libc::write(writer.as_raw_fd(), from.cast(), n);
            let r = if w > 0 { libc::read(reader.as_raw_fd(), to.cast(), w as usize) } else { w };
            (w, r)
        };
        if w <= 0 || r != w {
            return Err(io::Error::last_os_error());
        }
        done += w as usize;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three pages of which the last is not accessible; the first is read-only if asked for.
    fn pages(read_only: bool) -> (usize, usize) {
        let page = rustix::param::page_size();
        // SAFETY: a fresh anonymous mapping, which the test leaks.
        let base = unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let p = libc::mmap(std::ptr::null_mut(), 3 * page, prot, flags, -1, 0);
            assert_ne!(p, libc::MAP_FAILED);
            std::slice::from_raw_parts_mut(p.cast::<u8>(), 2 * page).fill(7);
            assert_eq!(libc::mprotect(p.byte_add(2 * page), page, libc::PROT_NONE), 0);
            if read_only {
                assert_eq!(libc::mprotect(p, page, libc::PROT_READ), 0);
            }
            p.expose_provenance()
        };
        (base, page)
    }

    fn both(f: impl Fn(&dyn Fn(Way, usize, *mut u8, usize) -> bool)) {
        f(&|w, a, b, n| matches!(by_process_vm(w, a, b, n), Ok(m) if m == n));
        f(&|w, a, b, n| by_pipe(w, a, b, n).is_ok());
    }

    #[test]
    fn good_memory_is_moved_whole() {
        both(|f| {
            let source: Vec<u8> = (0..100_000u32).map(|i| (i % 253) as u8).collect();
            let mut target = vec![0u8; source.len()];
            let at = source.as_ptr().expose_provenance();
            assert!(f(Way::Read, at, target.as_mut_ptr(), target.len()));
            assert!(source == target);
            let at = target.as_mut_ptr().expose_provenance();
            let ones = vec![1u8; 5000];
            assert!(f(Way::Write, at + 3, ones.as_ptr().cast_mut(), ones.len()));
            assert!(target[..3] == source[..3] && target[5003..] == source[5003..]);
            assert!(target[3..5003].iter().all(|b| *b == 1));
        });
    }

    #[test]
    fn bad_memory_is_a_fault() {
        both(|f| {
            let (base, page) = pages(true);
            let mut buf = vec![0u8; 2 * page];
            let p = buf.as_mut_ptr();
            assert!(f(Way::Read, base, p, 2 * page));
            assert!(!f(Way::Read, base + page, p, page + 1), "reaches into the last page");
            assert!(!f(Way::Write, base, p, 1), "read-only");
            assert!(f(Way::Write, base + page, p, page));
            assert!(!f(Way::Write, base + page + 1, p, page), "reaches into the last page");
            for bad in [0usize, 1, 4095, usize::MAX - 2 * page] {
                assert!(!f(Way::Read, bad, p, 1) && !f(Way::Write, bad, p, 1), "{bad:#x}");
            }
        });
    }

    #[test]
    fn ranges_past_the_end_of_memory() {
        let mut buf = [0u8; 16];
        assert_eq!(read(u64::MAX - 3, &mut buf), Err(Fault));
        assert_eq!(read(0, &mut []), Ok(()), "nothing is read from nowhere");
    }
}
