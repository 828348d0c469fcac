// SPDX-License-Identifier: CDDL-1.0
//! The messages of the dialogue: a header of 24 bytes, for some followed by `len` bytes. Integers
//! are little-endian.
//!
//! ```text
//!   0       4        8               16       20       24
//!   | op u32 | value i32 |  addr u64  | len u32 | aux u32 | bytes[len] ...
//!
//!   client  OPEN     value flags                aux version and model
//!           JOIN     bytes: token[16]           aux version and model
//!           IOCTL    value cmd, addr arg
//!           DATA     value 0: bytes follow; 1: fault
//!           COPIED   value 0: done; 1: fault
//!           CLOSE
//!           PUTMSG   value parts, aux bytes of control; control, data
//!           READ
//!   server  OPENED   value errno; if 0 bytes: token[16]
//!           COPYIN   addr, len (no bytes)
//!           COPYOUT  addr, bytes
//!           RETURN   value errno, addr the result
//!           CLOSED
//!           MESSAGE  value parts, addr flushes, aux bytes of control; control, data
//!           HANGUP   value errno or 0
//! ```
//!
//! PUTMSG and READ are for streams, and are answered with RETURN. After READ the connection carries
//! MESSAGE, until HANGUP, and nothing else. Parts: 1 of high priority, 2 a control part, 4 a data
//! part. `flushes`: I_FLUSH of the read side that were done before the message came.
//!
//! CLOSED is sent when the driver's close is done, if it was the last connection: who then opens
//! anew finds it closed.

use std::io::{self, Read, Write};

use door::Model;

use crate::{MAX_COPY, Message};

const VERSION: u32 = 1;
const HEADER: usize = 24;

/// Secret that names an open to a connection that joins it.
pub type Token = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    Open = 1,
    Join = 2,
    Ioctl = 3,
    Data = 4,
    Copied = 5,
    Close = 6,
    Opened = 7,
    Copyin = 8,
    Copyout = 9,
    Return = 10,
    Closed = 11,
    Putmsg = 12,
    Read = 13,
    Message = 14,
    Hangup = 15,
}

impl Op {
    const ALL: [Op; 15] = [
        Op::Open,
        Op::Join,
        Op::Ioctl,
        Op::Data,
        Op::Copied,
        Op::Close,
        Op::Opened,
        Op::Copyin,
        Op::Copyout,
        Op::Return,
        Op::Closed,
        Op::Putmsg,
        Op::Read,
        Op::Message,
        Op::Hangup,
    ];
}

/// One header. Fields an operation does not use are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub op: Op,
    pub value: i32,
    pub addr: u64,
    pub len: u32,
    pub aux: u32,
}

impl Header {
    pub fn new(op: Op) -> Header {
        Header { op, value: 0, addr: 0, len: 0, aux: 0 }
    }

    /// OPEN or JOIN by a process of `model`.
    pub fn hello(op: Op, model: Model) -> Header {
        Header { aux: VERSION << 8 | model as u32, ..Header::new(op) }
    }

    /// The model in an OPEN or JOIN; None if the version is not ours.
    pub fn model(&self) -> Option<Model> {
        let [model, version @ ..] = self.aux.to_le_bytes();
        (version == [VERSION as u8, 0, 0]).then(|| Model::from_byte(model)).flatten()
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[0..4].copy_from_slice(&(self.op as u32).to_le_bytes());
        b[4..8].copy_from_slice(&self.value.to_le_bytes());
        b[8..16].copy_from_slice(&self.addr.to_le_bytes());
        b[16..20].copy_from_slice(&self.len.to_le_bytes());
        b[20..24].copy_from_slice(&self.aux.to_le_bytes());
        b
    }

    /// Total: None for an unknown operation or a length over [`MAX_COPY`].
    fn decode(b: &[u8; HEADER]) -> Option<Header> {
        let word = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let op = Op::ALL.into_iter().find(|op| *op as u32 == word(0))?;
        let addr = u64::from(word(8)) | u64::from(word(12)) << 32;
        let header = Header { op, value: word(4) as i32, addr, len: word(16), aux: word(20) };
        (header.len as usize <= MAX_COPY).then_some(header)
    }

    /// Sends the header and `bytes`, whose length it takes on.
    pub fn send(mut self, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        self.len = u32::try_from(bytes.len()).map_err(|_| broken())?;
        let mut message = Vec::with_capacity(HEADER + bytes.len());
        message.extend_from_slice(&self.encode());
        message.extend_from_slice(bytes);
        to.write_all(&message)
    }

    /// Sends a header that asks for `len` bytes and carries none.
    pub fn send_bare(self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }

    /// Receives a header. UnexpectedEof when the peer is gone, InvalidData when it sends what is no
    /// header.
    pub fn receive(from: &mut impl Read) -> io::Result<Header> {
        let mut b = [0; HEADER];
        from.read_exact(&mut b)?;
        Header::decode(&b).ok_or_else(broken)
    }
}

/// Which parts a message has: bits of `value`.
pub struct Part;

impl Part {
    const HIGH: i32 = 1;
    const CONTROL: i32 = 2;
    const DATA: i32 = 4;

    /// The header and the bytes after it.
    pub fn encode(op: Op, m: &Message) -> (Header, Vec<u8>) {
        let bit = |on: bool, bit: i32| if on { bit } else { 0 };
        let value = bit(m.high, Part::HIGH)
            | bit(m.control.is_some(), Part::CONTROL)
            | bit(m.data.is_some(), Part::DATA);
        let control = m.control.as_deref().unwrap_or_default();
        let bytes = [control, m.data.as_deref().unwrap_or_default()].concat();
        (Header { value, aux: control.len() as u32, ..Header::new(op) }, bytes)
    }

    /// The message; None if the parts do not fit the bytes.
    pub fn decode(h: &Header, mut bytes: Vec<u8>) -> Option<Message> {
        let has = |bit| h.value & bit != 0;
        let at = h.aux as usize;
        let (control, data) = (has(Part::CONTROL), has(Part::DATA));
        if at > bytes.len() || (!control && at > 0) || (!data && at < bytes.len()) {
            return None;
        }
        let rest = bytes.split_off(at);
        Some(Message {
            high: has(Part::HIGH),
            control: control.then_some(bytes),
            data: data.then_some(rest),
        })
    }
}

/// The error for a peer that does not keep to the protocol.
pub fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the protocol of devctl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for op in Op::ALL {
            let h = Header { op, value: -5, addr: u64::MAX - 3, len: MAX_COPY as u32, aux: 0x140 };
            assert_eq!(Header::decode(&h.encode()), Some(h));
        }
        assert_eq!(Header::hello(Op::Open, Model::Ilp32).model(), Some(Model::Ilp32));
        assert_eq!(Header { aux: 0x240, ..Header::new(Op::Open) }.model(), None);
        assert_eq!(Header { aux: 0x141, ..Header::new(Op::Open) }.model(), None);
    }

    #[test]
    fn messages_round_trip() {
        let part = |s: &str| Some(s.as_bytes().to_vec());
        for m in [
            Message::default(),
            Message { high: true, control: part("c"), data: None },
            Message { high: false, control: part("ctl"), data: part("data") },
            Message { high: false, control: None, data: part("") },
        ] {
            let (h, bytes) = Part::encode(Op::Message, &m);
            assert_eq!(Part::decode(&h, bytes), Some(m));
        }
        let h = |value, aux| Header { value, aux, ..Header::new(Op::Putmsg) };
        for (value, aux) in [(2, 4), (4, 1), (2, 2), (0, 0)] {
            assert_eq!(Part::decode(&h(value, aux), vec![0; 3]), None, "{value} {aux}");
        }
    }

    #[test]
    fn wrong_headers_are_refused() {
        let good = Header::new(Op::Data).encode();
        for op in [0u32, 16, u32::MAX] {
            let mut b = good;
            b[..4].copy_from_slice(&op.to_le_bytes());
            assert_eq!(Header::decode(&b), None);
        }
        let long = Header { len: MAX_COPY as u32 + 1, ..Header::new(Op::Data) };
        assert_eq!(Header::decode(&long.encode()), None);
        assert_eq!(
            Header::receive(&mut &good[..23]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
