// SPDX-License-Identifier: CDDL-1.0
//! What went wrong, in dladm's words.

use overlay_abi::errno::Errno;

/// Outcome of an operation (`dladm_status_t`); the texts are spec/varpd.md 8.1 and dladm(8)'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Status {
    /// EINVAL.
    #[error("invalid argument")]
    BadArg,
    /// Any error without a word of its own.
    #[error("operation failed")]
    Failed,
    /// ENOSPC.
    #[error("buffer size too small")]
    TooSmall,
    /// ENOTSUP.
    #[error("operation not supported")]
    NotSup,
    /// ENOENT.
    #[error("object not found")]
    NotFound,
    /// A value that the property does not take.
    #[error("invalid value")]
    BadVal,
    /// ENOMEM.
    #[error("insufficient memory")]
    NoMem,
    /// EEXIST.
    #[error("object already exists")]
    Exist,
    /// EACCES, EPERM.
    #[error("permission denied")]
    Denied,
    /// EIO.
    #[error("I/O error")]
    IoErr,
    /// EBUSY.
    #[error("link busy")]
    LinkBusy,
    /// ENETDOWN.
    #[error("link notification is not supported")]
    NoNotif,
    /// EAGAIN.
    #[error("try again later")]
    TryAgain,
    /// A property that can only be read.
    #[error("read-only property")]
    PropRdOnly,
    /// More or fewer values than the property takes.
    #[error("invalid number of values")]
    BadValCnt,
    /// A MAC address that no station may have.
    #[error("invalid MAC address value")]
    InvalidMacAddr,
    /// Another station on the link has this MAC address.
    #[error("MAC address is already in use")]
    MacAddrInUse,
    /// A VLAN id outside 1 to 4094.
    #[error("invalid VLAN identifier")]
    VidInval,
}

impl From<Errno> for Status {
    fn from(e: Errno) -> Status {
        match e {
            Errno::EINVAL => Status::BadArg,
            Errno::EEXIST => Status::Exist,
            Errno::ENOENT => Status::NotFound,
            Errno::ENOSPC => Status::TooSmall,
            Errno::ENOMEM => Status::NoMem,
            Errno::ENOTSUP => Status::NotSup,
            Errno::ENETDOWN => Status::NoNotif,
            Errno::EACCES | Errno::EPERM => Status::Denied,
            Errno::EIO => Status::IoErr,
            Errno::EBUSY => Status::LinkBusy,
            Errno::EAGAIN => Status::TryAgain,
            _ => Status::Failed,
        }
    }
}

/// A status with the lines that explain it, in the order they came up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}")]
pub struct Failure {
    /// The outcome as a whole.
    pub status: Status,
    /// For people; each a sentence without a period, may be none.
    pub details: Vec<String>,
}

impl Failure {
    pub(crate) fn new(status: impl Into<Status>, details: Vec<String>) -> Failure {
        Failure { status: status.into(), details }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure { status, details: Vec::new() }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Status::from(errno).into()
    }
}
