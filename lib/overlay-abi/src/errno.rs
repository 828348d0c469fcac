// SPDX-License-Identifier: CDDL-1.0
//! Error numbers, always those of illumos.
//!
//! Kernel code, ioctl results and door messages carry illumos numbers on every host. The numbers of
//! the host are met at three places only: a system call made by the stand-ins, the C functions of a
//! plugin (compiled against the host's `errno.h`), and an error shown as `std::io::Error`. There
//! [`Errno::from_host`] and [`Errno::to_host`] translate; on illumos they change nothing.
//!
//! Source: `intro(2)`, `sys/errno.h`; texts are those of `strerror(3C)`.
use core::fmt;

/// An illumos error number. 0 is "no error" and occurs only inside messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Errno(pub i32);

/// One row: illumos number, Linux number, name, text.
struct Row(i32, i32, &'static str, &'static str);

macro_rules! errnos {
    ($($name:ident $illumos:literal $linux:literal $text:literal)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($illumos);)*
            /// The same number as `EAGAIN`.
            pub const EWOULDBLOCK: Errno = Errno::EAGAIN;
        }
        const ROWS: &[Row] = &[$(Row($illumos, $linux, stringify!($name), $text)),*];
    };
}

// The two numbers Linux does not know become its EIO.
errnos! {
    EPERM 1 1 "Not owner"
    ENOENT 2 2 "No such file or directory"
    ESRCH 3 3 "No such process"
    EINTR 4 4 "Interrupted system call"
    EIO 5 5 "I/O error"
    ENXIO 6 6 "No such device or address"
    E2BIG 7 7 "Arg list too long"
    ENOEXEC 8 8 "Exec format error"
    EBADF 9 9 "Bad file number"
    ECHILD 10 10 "No child processes"
    EAGAIN 11 11 "Resource temporarily unavailable"
    ENOMEM 12 12 "Not enough space"
    EACCES 13 13 "Permission denied"
    EFAULT 14 14 "Bad address"
    ENOTBLK 15 15 "Block device required"
    EBUSY 16 16 "Device busy"
    EEXIST 17 17 "File exists"
    EXDEV 18 18 "Cross-device link"
    ENODEV 19 19 "No such device"
    ENOTDIR 20 20 "Not a directory"
    EISDIR 21 21 "Is a directory"
    EINVAL 22 22 "Invalid argument"
    ENFILE 23 23 "File table overflow"
    EMFILE 24 24 "Too many open files"
    ENOTTY 25 25 "Inappropriate ioctl for device"
    ETXTBSY 26 26 "Text file busy"
    EFBIG 27 27 "File too large"
    ENOSPC 28 28 "No space left on device"
    ESPIPE 29 29 "Illegal seek"
    EROFS 30 30 "Read-only file system"
    EMLINK 31 31 "Too many links"
    EPIPE 32 32 "Broken pipe"
    EDOM 33 33 "Argument out of domain"
    ERANGE 34 34 "Result too large"
    ENOMSG 35 42 "No message of desired type"
    EIDRM 36 43 "Identifier removed"
    ECHRNG 37 44 "Channel number out of range"
    EL2NSYNC 38 45 "Level 2 not synchronized"
    EL3HLT 39 46 "Level 3 halted"
    EL3RST 40 47 "Level 3 reset"
    ELNRNG 41 48 "Link number out of range"
    EUNATCH 42 49 "Protocol driver not attached"
    ENOCSI 43 50 "No CSI structure available"
    EL2HLT 44 51 "Level 2 halted"
    EDEADLK 45 35 "Deadlock situation detected/avoided"
    ENOLCK 46 37 "No record locks available"
    ECANCELED 47 125 "Operation canceled"
    ENOTSUP 48 95 "Operation not supported"
    EDQUOT 49 122 "Disc quota exceeded"
    EBADE 50 52 "Bad exchange descriptor"
    EBADR 51 53 "Bad request descriptor"
    EXFULL 52 54 "Message tables full"
    ENOANO 53 55 "Anode table overflow"
    EBADRQC 54 56 "Bad request code"
    EBADSLT 55 57 "Invalid slot"
    EDEADLOCK 56 35 "File locking deadlock"
    EBFONT 57 59 "Bad font file format"
    EOWNERDEAD 58 130 "Owner of the lock died"
    ENOTRECOVERABLE 59 131 "Lock is not recoverable"
    ENOSTR 60 60 "Not a stream device"
    ENODATA 61 61 "No data available"
    ETIME 62 62 "Timer expired"
    ENOSR 63 63 "Out of stream resources"
    ENONET 64 64 "Machine is not on the network"
    ENOPKG 65 65 "Package not installed"
    EREMOTE 66 66 "Object is remote"
    ENOLINK 67 67 "Link has been severed"
    EADV 68 68 "Advertise error"
    ESRMNT 69 69 "Srmount error"
    ECOMM 70 70 "Communication error on send"
    EPROTO 71 71 "Protocol error"
    ELOCKUNMAPPED 72 5 "Locked lock was unmapped"
    ENOTACTIVE 73 5 "Facility is not active"
    EMULTIHOP 74 72 "Multihop attempted"
    EBADMSG 77 74 "Not a data message"
    ENAMETOOLONG 78 36 "File name too long"
    EOVERFLOW 79 75 "Value too large for defined data type"
    ENOTUNIQ 80 76 "Name not unique on network"
    EBADFD 81 77 "File descriptor in bad state"
    EREMCHG 82 78 "Remote address changed"
    ELIBACC 83 79 "Can not access a needed shared library"
    ELIBBAD 84 80 "Accessing a corrupted shared library"
    ELIBSCN 85 81 ".lib section in a.out corrupted"
    ELIBMAX 86 82 "Attempting to link in more shared libraries than system limit"
    ELIBEXEC 87 83 "Can not exec a shared library directly"
    EILSEQ 88 84 "Illegal byte sequence"
    ENOSYS 89 38 "Operation not applicable"
    ELOOP 90 40
        "Number of symbolic links encountered during path name traversal exceeds MAXSYMLINKS"
    ERESTART 91 85 "Error 91"
    ESTRPIPE 92 86 "Error 92"
    ENOTEMPTY 93 39 "Directory not empty"
    EUSERS 94 87 "Too many users"
    ENOTSOCK 95 88 "Socket operation on non-socket"
    EDESTADDRREQ 96 89 "Destination address required"
    EMSGSIZE 97 90 "Message too long"
    EPROTOTYPE 98 91 "Protocol wrong type for socket"
    ENOPROTOOPT 99 92 "Option not supported by protocol"
    EPROTONOSUPPORT 120 93 "Protocol not supported"
    ESOCKTNOSUPPORT 121 94 "Socket type not supported"
    EOPNOTSUPP 122 95 "Operation not supported on transport endpoint"
    EPFNOSUPPORT 123 96 "Protocol family not supported"
    EAFNOSUPPORT 124 97 "Address family not supported by protocol family"
    EADDRINUSE 125 98 "Address already in use"
    EADDRNOTAVAIL 126 99 "Cannot assign requested address"
    ENETDOWN 127 100 "Network is down"
    ENETUNREACH 128 101 "Network is unreachable"
    ENETRESET 129 102 "Network dropped connection because of reset"
    ECONNABORTED 130 103 "Software caused connection abort"
    ECONNRESET 131 104 "Connection reset by peer"
    ENOBUFS 132 105 "No buffer space available"
    EISCONN 133 106 "Transport endpoint is already connected"
    ENOTCONN 134 107 "Transport endpoint is not connected"
    ESHUTDOWN 143 108 "Cannot send after socket shutdown"
    ETOOMANYREFS 144 109 "Too many references: cannot splice"
    ETIMEDOUT 145 110 "Connection timed out"
    ECONNREFUSED 146 111 "Connection refused"
    EHOSTDOWN 147 112 "Host is down"
    EHOSTUNREACH 148 113 "No route to host"
    EALREADY 149 114 "Operation already in progress"
    EINPROGRESS 150 115 "Operation now in progress"
    ESTALE 151 116 "Stale NFS file handle"
}

impl Errno {
    /// `Ok` for 0, the error otherwise: the usual C convention of a function returning an errno.
    pub fn check(code: i32) -> Result<(), Errno> {
        if code == 0 { Ok(()) } else { Err(Errno(code)) }
    }

    /// The number a C function would return for `result`: 0 or the error.
    pub fn code(result: Result<(), Errno>) -> i32 {
        result.map_or_else(|e| e.0, |()| 0)
    }

    /// The symbol, `"ENOENT"`; `"E?"` for a number illumos does not have.
    pub fn name(self) -> &'static str {
        self.row().map_or("E?", |r| r.2)
    }

    /// The illumos number for an error number of this host; one that illumos does not have is
    /// `EIO`.
    pub fn from_host(host: i32) -> Errno {
        if cfg!(target_os = "linux") {
            Errno(ROWS.iter().find(|r| r.1 == host).map_or(Errno::EIO.0, |r| r.0))
        } else {
            Errno(host)
        }
    }

    /// This error in numbers of this host; one that the host does not have is its `EIO`.
    pub fn to_host(self) -> i32 {
        if cfg!(target_os = "linux") { self.row().map_or(5, |r| r.1) } else { self.0 }
    }

    fn row(self) -> Option<&'static Row> {
        ROWS.iter().find(|r| r.0 == self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => f.write_str(row.3),
            None => write!(f, "Error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) => f.write_str(row.2),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl core::error::Error for Errno {}
