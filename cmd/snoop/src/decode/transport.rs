// SPDX-License-Identifier: CDDL-1.0
//! TCP (RFC 9293) and UDP (RFC 768), and VXLAN (RFC 7348), which is as short.

use super::checksum::Sum;
use super::cursor::Cursor;
use crate::field::Fields;

/// Ports whose packets are decoded further.
pub mod port {
    #![allow(missing_docs)]
    pub const DHCP_SERVER: u16 = 67;
    pub const DHCP_CLIENT: u16 = 68;
    pub const SVP: u16 = 1296;
    pub const VXLAN: u16 = 4789;
}

/// A TCP header, 20 to 60 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// From which port.
    pub src: u16,
    /// To which port.
    pub dst: u16,
    /// Of the first byte.
    pub seq: u32,
    /// Of the byte expected next.
    pub ack: u32,
    /// [`Tcp::FIN`] and so on.
    pub flags: u8,
    /// Not scaled.
    pub window: u16,
    /// As received.
    pub checksum: u16,
    /// What it says.
    pub sum: Sum,
    /// 0 to 40 bytes.
    pub options: &'a [u8],
    /// Bytes behind the header, as far as they are there.
    pub payload: usize,
}

impl<'a> Tcp<'a> {
    /// The sender has no more.
    pub const FIN: u8 = 1;
    /// The first of a connection.
    pub const SYN: u8 = 2;
    /// There is no such connection.
    pub const RST: u8 = 4;
    /// [`Tcp::ack`] counts.
    pub const ACK: u8 = 16;
    /// Of the flags, from the lowest.
    const NAMES: [&'static str; 8] = ["Fin", "Syn", "Rst", "Push", "Ack", "Urg", "Ece", "Cwr"];

    /// The header; what is left in `c` is the payload.
    pub(super) fn decode(c: &mut Cursor<'a>) -> Option<Result<Tcp<'a>, String>> {
        let (src, dst, seq, ack) = (c.u16()?, c.u16()?, c.u32()?, c.u32()?);
        let (offset, flags, window) = (c.u8()?, c.u8()?, c.u16()?);
        let (checksum, _urgent) = (c.u16()?, c.u16()?);
        let header = usize::from(offset >> 4).saturating_mul(4);
        let Some(options) = header.checked_sub(20) else {
            return Some(Err(format!("a header of {header} bytes")));
        };
        let options = c.take(options)?;
        let payload = c.0.len();
        Some(Ok(Tcp {
            src,
            dst,
            seq,
            ack,
            flags,
            window,
            checksum,
            sum: Sum::Unchecked,
            options,
            payload,
        }))
    }

    /// Names of the flags that are set.
    fn flags(&self) -> String {
        let set = Tcp::NAMES.iter().enumerate().filter(|(n, _)| self.flags >> n & 1 != 0);
        set.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn summary(&self) -> String {
        let ack = match self.flags & Tcp::ACK {
            0 => String::new(),
            _ => format!(" Ack={}", self.ack),
        };
        format!(
            "D={} S={} {} Seq={}{ack} Len={} Win={}",
            self.dst,
            self.src,
            self.flags(),
            self.seq,
            self.payload,
            self.window
        )
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("source_port", self.src)
            .with("destination_port", self.dst)
            .with("sequence", self.seq)
            .with("acknowledgement", self.ack)
            .with("flags", self.flags())
            .with("window", self.window)
            .hex("checksum", self.checksum, 4)
            .with("checksum_state", self.sum.to_string())
            .with("options_length", self.options.len())
            .with("payload_length", self.payload)
    }
}

/// A UDP header, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// From which port.
    pub src: u16,
    /// To which port.
    pub dst: u16,
    /// Of header and payload; 0 of a datagram that is still to be segmented.
    pub length: u16,
    /// As received; 0 for none.
    pub checksum: u16,
    /// What it says.
    pub sum: Sum,
}

impl Udp {
    /// The header; what is left in `c` is the payload as far as it is there.
    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Result<Udp, String>> {
        let (src, dst, length, checksum) = (c.u16()?, c.u16()?, c.u16()?, c.u16()?);
        let udp = Udp { src, dst, length, checksum, sum: Sum::Unchecked };
        let payload = match (udp.length, usize::from(udp.length).checked_sub(8)) {
            (0, _) => c.0,
            (n, None) => return Some(Err(format!("{n} bytes with a header of 8"))),
            (_, Some(n)) => c.0.get(..n).unwrap_or(c.0),
        };
        c.0 = payload;
        Some(Ok(udp))
    }

    pub(super) fn summary(&self) -> String {
        format!("D={} S={} LEN={}", self.dst, self.src, self.length)
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default()
            .with("source_port", self.src)
            .with("destination_port", self.dst)
            .with("length", self.length)
            .hex("checksum", self.checksum, 4)
            .with("checksum_state", self.sum.to_string())
    }
}

/// A VXLAN header, 8 bytes. An Ethernet frame follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// 8 says that the id counts.
    pub flags: u8,
    /// 24 bits.
    pub vnet: u32,
}

impl Vxlan {
    const ID_COUNTS: u8 = 8;

    pub(super) fn decode(c: &mut Cursor<'_>) -> Option<Result<Vxlan, String>> {
        let (flags, vnet) = (c.u32()?, c.u32()? >> 8);
        let flags = (flags >> 24) as u8;
        if flags & Vxlan::ID_COUNTS == 0 {
            return Some(Err(format!("flags 0x{flags:02x} say that there is no id")));
        }
        Some(Ok(Vxlan { flags, vnet }))
    }

    pub(super) fn summary(&self) -> String {
        format!("vnet {}", self.vnet)
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default().hex("flags", self.flags, 2).with("vnet", self.vnet)
    }
}
