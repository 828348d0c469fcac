// SPDX-License-Identifier: CDDL-1.0
//! Frames for the proxies: good questions, what the kernel says of them, and what a good answer is.
//!
//! Made and checked by smoltcp, which shares no code with what is tested.
use libvarpd::proxy::arp::Arp;
use libvarpd::proxy::dhcp::Dhcp;
use libvarpd::proxy::ndp::Ndp;
use libvarpd::proxy::{FRAME_MAX, Question, Refusal};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::overlay_targ_lookup_t;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, UdpPacket, UdpRepr,
};
use std::net::{Ipv4Addr, Ipv6Addr};
use zerocopy::FromZeros;

/// Who asks.
pub const ASKER: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 1]);
/// Whose address is asked for.
pub const OWNER: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 2]);
/// Address of [`ASKER`].
pub const ASKER_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// Address of [`OWNER`].
pub const OWNER_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
/// Address of [`ASKER`].
pub const ASKER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// Address of [`OWNER`].
pub const OWNER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0x12, 0x3456);
/// Where an untagged frame's payload begins.
pub const ETHER: usize = 14;

/// Something to do to a good question.
pub type Edit = fn(&mut Vec<u8>);

/// Which proxy a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Arp`]
    Arp,
    /// [`Ndp`]
    Ndp,
    /// [`Dhcp`]
    Dhcp,
}

/// All of them.
pub const KINDS: [Kind; 3] = [Kind::Arp, Kind::Ndp, Kind::Dhcp];

impl Kind {
    /// A good question.
    pub fn question(self) -> Vec<u8> {
        match self {
            Kind::Arp => arp_request(),
            Kind::Ndp => solicitation(OWNER_V6, Some(ASKER)),
            Kind::Dhcp => discover(),
        }
    }

    /// What the proxy makes of a frame if the plugin answers with `mac`.
    pub fn ask(
        self,
        lookup: &overlay_targ_lookup_t,
        frame: &[u8],
        mac: MacAddr,
    ) -> Result<Vec<u8>, Refusal> {
        match self {
            Kind::Arp => parse::<Arp>(lookup, frame)?.answer(mac),
            Kind::Ndp => parse::<Ndp>(lookup, frame)?.answer(mac),
            Kind::Dhcp => parse::<Dhcp>(lookup, frame)?.answer(mac),
        }
    }

    /// Fails unless `answer` is a good one to `question`.
    pub fn check(self, question: &[u8], answer: &[u8]) {
        match self {
            Kind::Arp => check_arp(question, answer),
            Kind::Ndp => check_ndp(question, answer),
            Kind::Dhcp => check_dhcp(question, answer),
        }
    }
}

/// The question in a frame of which the kernel said `lookup`.
pub fn parse<Q: Question>(lookup: &overlay_targ_lookup_t, frame: &[u8]) -> Result<Q, Refusal> {
    Q::parse(Q::admit(lookup)?, frame.to_vec())
}

/// Asks about whatever a guest may send, as it is and with its checksum made right; the answer with
/// [`OWNER`], if there is one, must be a good one.
///
/// # Errors
/// The refusal of the frame with a right checksum.
pub fn judge(kind: Kind, frame: &[u8]) -> Result<(), Refusal> {
    let mut summed = frame.to_vec();
    resum(kind, &mut summed);
    let [_, result] = [frame, &summed].map(|frame| {
        let answer = ask(kind, frame)?;
        kind.check(frame, &answer);
        Ok(())
    });
    result
}

/// Makes the checksum that a proxy verifies right after an edit, if it is there.
pub fn resum(kind: Kind, frame: &mut [u8]) {
    let header = lookup(frame).otl_hdrsize as usize;
    let Some(packet) = frame.get_mut(header..) else { return };
    match kind {
        Kind::Arp => {}
        Kind::Ndp => {
            let Ok(mut ip) = Ipv6Packet::new_checked(packet) else { return };
            let (from, to) = (ip.src_addr(), ip.dst_addr());
            if ip.payload_len() >= 4 {
                Icmpv6Packet::new_unchecked(ip.payload_mut()).fill_checksum(&from, &to);
            }
        }
        Kind::Dhcp => {
            let size = packet.first().map_or(0, |b| usize::from(b & 0x0f) * 4);
            if size >= 20 && size <= packet.len() {
                Ipv4Packet::new_unchecked(packet).fill_checksum();
            }
        }
    }
}

/// The answer with [`OWNER`] to a frame that the kernel described as it is.
pub fn ask(kind: Kind, frame: &[u8]) -> Result<Vec<u8>, Refusal> {
    kind.ask(&lookup(frame), frame, OWNER)
}

/// What becomes of a good question after an edit.
pub fn edited(kind: Kind, edit: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, Refusal> {
    let mut frame = kind.question();
    edit(&mut frame);
    ask(kind, &frame)
}

/// What LOOKUP says of a frame: spec/varpd.md 9.3.
pub fn lookup(frame: &[u8]) -> overlay_targ_lookup_t {
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    let word = |at: usize| u16::from_be_bytes([byte(at), byte(at + 1)]);
    let mut a = overlay_targ_lookup_t::new_zeroed();
    let tagged = word(12) == 0x8100;
    a.otl_hdrsize = if tagged { 18 } else { 14 };
    a.otl_pktsize = (frame.len() as u64).saturating_sub(a.otl_hdrsize);
    a.otl_dstaddr = std::array::from_fn(byte);
    a.otl_srcaddr = std::array::from_fn(|n| byte(6 + n));
    a.otl_sap = word(if tagged { 16 } else { 12 }).into();
    a.otl_vlan = if tagged { i32::from(word(14) & 0x0fff) } else { 0 };
    a
}

/// The frame with a VLAN tag.
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    out.extend([0x81, 0]);
    out.extend(tci.to_be_bytes());
    out.extend(&frame[12..]);
    out
}

fn ethernet(to: [u8; 6], ethertype: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ETHER + payload.len()];
    let repr = EthernetRepr {
        src_addr: EthernetAddress(ASKER.0),
        dst_addr: EthernetAddress(to),
        ethertype,
    };
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    frame[ETHER..].copy_from_slice(payload);
    frame
}

/// Who has [`OWNER_V4`]? Padded to 60 bytes with what must not change.
pub fn arp_request() -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(ASKER.0),
        source_protocol_addr: ASKER_V4,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OWNER_V4,
    };
    let mut packet = [0; 28];
    repr.emit(&mut ArpPacket::new_unchecked(&mut packet));
    let mut frame = ethernet([0xff; 6], EthernetProtocol::Arp, &packet);
    frame.extend(0x40..0x52);
    frame
}

/// Who has `target`? With or without a source link-layer address.
pub fn solicitation(target: Ipv6Addr, source: Option<MacAddr>) -> Vec<u8> {
    let lladdr = source.map(|mac| EthernetAddress(mac.0).into());
    let repr = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr: target, lladdr });
    let mut message = vec![0; repr.buffer_len()];
    let [.., a, b, c] = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let from = if source.is_some() { ASKER_V6 } else { Ipv6Addr::UNSPECIFIED };
    let sums = ChecksumCapabilities::default();
    repr.emit(&from, &group, &mut Icmpv6Packet::new_unchecked(&mut message), &sums);
    icmpv6(from, group, &message)
}

/// An IPv6 frame with this ICMPv6 message.
pub fn icmpv6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let repr = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.len(),
        hop_limit: 255,
    };
    let mut packet = vec![0; 40 + message.len()];
    repr.emit(&mut Ipv6Packet::new_unchecked(&mut packet));
    packet[40..].copy_from_slice(message);
    let [.., a, b, c, d] = to.octets();
    ethernet([0x33, 0x33, a, b, c, d], EthernetProtocol::Ipv6, &packet)
}

/// A DHCPDISCOVER of the least size.
pub fn discover() -> Vec<u8> {
    let mut message = [0; 300];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[28..34].copy_from_slice(&ASKER.0);
    message[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    let udp = UdpRepr { src_port: 68, dst_port: 67 };
    let ip = Ipv4Repr {
        src_addr: Ipv4Addr::UNSPECIFIED,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: 308,
        hop_limit: 64,
    };
    let mut packet = [0; 328];
    let sums = ChecksumCapabilities::default();
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &sums);
    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
    let mut datagram = UdpPacket::new_unchecked(&mut packet[20..]);
    udp.emit(&mut datagram, &from, &to, 300, |p| p.copy_from_slice(&message), &sums);
    ethernet([0xff; 6], EthernetProtocol::Ipv4, &packet)
}

/// Checks the Ethernet header of an answer that goes back to the asker, and returns what is behind
/// it in question and answer.
fn behind_header<'a>(question: &'a [u8], answer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let header = if question[12..14] == [0x81, 0] { 18 } else { 14 };
    assert_eq!(answer[..6], question[6..12], "to the asker");
    assert_eq!(answer[6..12], OWNER.0, "from the owner");
    assert_eq!(answer[12..header], question[12..header], "tag and type");
    assert!(answer.len() <= FRAME_MAX);
    (&question[header..], &answer[header..])
}

fn check_arp(question: &[u8], answer: &[u8]) {
    assert_eq!(answer.len(), question.len());
    let (question, answer) = behind_header(question, answer);
    assert_eq!(answer[28..], question[28..], "padding");
    let repr = |bytes| ArpRepr::parse(&ArpPacket::new_checked(bytes).unwrap()).unwrap();
    let (
        ArpRepr::EthernetIpv4 {
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        },
        answer,
    ) = (repr(question), repr(answer))
    else {
        panic!()
    };
    let expected = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(OWNER.0),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    assert_eq!(answer, expected);
}

fn check_ndp(question: &[u8], answer: &[u8]) {
    let (question, answer) = behind_header(question, answer);
    assert_eq!(answer.len(), 72);
    let asked = Ipv6Packet::new_checked(question).unwrap();
    let ip = Ipv6Packet::new_checked(answer).unwrap();
    assert_eq!(answer[..4], question[..4], "version, class and flow");
    assert_eq!((ip.next_header(), ip.hop_limit()), (IpProtocol::Icmpv6, 255));
    assert_eq!(ip.payload_len(), 32);
    let target_addr = Icmpv6Packet::new_checked(asked.payload()).unwrap().target_addr();
    assert_eq!((ip.src_addr(), ip.dst_addr()), (target_addr, asked.src_addr()));
    let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
    let sums = ChecksumCapabilities::default();
    let repr = Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &message, &sums);
    let expected = NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr,
        lladdr: Some(EthernetAddress(OWNER.0).into()),
    };
    assert_eq!(repr, Ok(Icmpv6Repr::Ndisc(expected)));
}

fn check_dhcp(question: &[u8], answer: &[u8]) {
    assert_eq!(answer[..6], OWNER.0, "to the server");
    assert_eq!(answer[6..], question[6..], "untouched");
    let header = if question[12..14] == [0x81, 0] { 18 } else { 14 };
    let ip = Ipv4Packet::new_checked(&answer[header..]).unwrap();
    assert!(ip.verify_checksum());
    assert_eq!((ip.next_header(), ip.frag_offset(), ip.more_frags()), (IpProtocol::Udp, 0, false));
    let udp = UdpPacket::new_checked(ip.payload()).unwrap();
    assert_eq!((udp.src_port(), udp.dst_port()), (68, 67));
    assert!(udp.payload().len() >= 300);
}
