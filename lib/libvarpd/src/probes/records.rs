// SPDX-License-Identifier: CDDL-1.0
//! From the records of [`sites`](super::sites) to what /dev/dtrace/helper takes, DOF.
//!
//! The usdt crate has a function for that too. It asks dladdr(3C) for names that an executable of another linker does
//! not have, and takes the records to be in the order of the addresses, which nobody promises.

use dof::{Probe, Provider, Section};

/// What stands for the function in a probe's name: they are known by their names alone.
const FUNCTION: &str = "libvarpd";

/// The version of records that is known.
const VERSION: u8 = 1;

/// One place in code.
struct Record<'a> {
    address: u64,
    /// Whether it is the test of whether somebody watches.
    test: bool,
    provider: &'a str,
    probe: &'a str,
    arguments: Vec<&'a str>,
}

/// The probes that the section's bytes tell of; `None` if they are no records.
fn parse(mut section: &[u8]) -> Option<Section> {
    let mut records = Vec::new();
    while !section.is_empty() {
        let length = u32::from_ne_bytes(*section.first_chunk()?);
        let (record, rest) = section.split_at_checked(length.try_into().ok()?)?;
        records.push(parse_one(record.get(4..)?)?);
        section = rest;
    }
    // Places are told as distances from the first.
    records.sort_by_key(|r| r.address);
    let mut all = Section::default();
    for record in records {
        let provider = all.providers.entry(record.provider.to_owned()).or_insert_with(|| {
            Provider { name: record.provider.to_owned(), probes: Default::default() }
        });
        let probe = provider.probes.entry(record.probe.to_owned()).or_insert_with(|| Probe {
            name: record.probe.to_owned(),
            function: FUNCTION.to_owned(),
            address: record.address,
            offsets: vec![],
            enabled_offsets: vec![],
            arguments: vec![],
        });
        let offset = record.address.checked_sub(probe.address)?.try_into().ok()?;
        if record.test {
            probe.enabled_offsets.push(offset);
        } else {
            probe.offsets.push(offset);
            probe.arguments = record.arguments.into_iter().map(str::to_owned).collect();
        }
    }
    Some(all)
}

/// A record after its length.
fn parse_one(record: &[u8]) -> Option<Record<'_>> {
    let ([version, count], record) = record.split_first_chunk()?;
    let (flags, record) = record.split_first_chunk()?;
    let (address, record) = record.split_first_chunk()?;
    if *version != VERSION {
        return None;
    }
    let mut strings = std::str::from_utf8(record).ok()?.split_terminator('\0');
    Some(Record {
        address: u64::from_ne_bytes(*address),
        test: u16::from_ne_bytes(*flags) != 0,
        provider: strings.next()?,
        probe: strings.next()?,
        arguments: (0..*count).map(|_| strings.next()).collect::<Option<_>>()?,
    })
}

// The linker makes these where they are named.
#[cfg(any(target_os = "illumos", target_arch = "x86_64"))]
unsafe extern "C" {
    #[link_name = "__start_set_dtrace_probes"]
    static START: u8;
    #[link_name = "__stop_set_dtrace_probes"]
    static STOP: u8;
}

/// The section.
#[cfg(any(target_os = "illumos", target_arch = "x86_64"))]
fn section() -> &'static [u8] {
    let (start, stop) = (&raw const START, &raw const STOP);
    // SAFETY: the linker's, and so the two ends of one section, which nobody writes to.
    unsafe { std::slice::from_raw_parts(start, stop.addr() - start.addr()) }
}

/// Tells DTrace of the probes of this process.
///
/// # Errors
///
/// Those of opening /dev/dtrace/helper, which a system without DTrace has not, and of its ioctl.
#[cfg(target_os = "illumos")]
pub fn register() -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    use std::os::fd::AsRawFd;

    /// `dof_helper_t` of <sys/dtrace.h>.
    #[repr(C)]
    struct Helper {
        module: [u8; 64],
        address: u64,
        dof: u64,
    }
    /// `DTRACEHIOC_ADDDOF`.
    const ADD: libc::c_int = 0x6474_6803;

    let dof = parse(section()).ok_or(Error::from(ErrorKind::InvalidData))?.as_bytes();
    let mut module = [0; 64];
    module[..5].copy_from_slice(b"varpd");
    let at = dof.as_ptr() as u64;
    let helper = Helper { module, address: at, dof: at };
    let device = std::fs::File::options().read(true).write(true).open("/dev/dtrace/helper")?;
    // SAFETY: reads a `Helper`, and the DOF whose length stands in its header.
    if unsafe { libc::ioctl(device.as_raw_fd(), ADD, &raw const helper) } < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(flags: u16, address: u64, count: u8, strings: &str) -> Vec<u8> {
        let length = (16 + strings.len()).next_multiple_of(8);
        let mut bytes = u32::try_from(length).unwrap().to_ne_bytes().to_vec();
        bytes.extend([VERSION, count]);
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(address.to_ne_bytes());
        bytes.extend(strings.bytes());
        bytes.resize(length, 0);
        bytes
    }

    #[test]
    fn records_in_any_order() {
        let bytes = [
            record(0, 0x1020, 2, "p\0q\0int32_t\0char*\0"),
            record(1, 0x1010, 0, "p\0q\0"),
            record(1, 0x1004, 0, "p\0q\0"),
        ];
        let all = parse(&bytes.concat()).unwrap();
        let probe = &all.providers["p"].probes["q"];
        assert_eq!(probe.address, 0x1004);
        assert_eq!(probe.enabled_offsets, [0, 12]);
        assert_eq!(probe.offsets, [28]);
        assert_eq!(probe.arguments, ["int32_t", "char*"]);
        assert!(all.as_bytes().starts_with(b"\x7fDOF"));
    }

    #[test]
    fn what_are_no_records_is_refused() {
        let good = record(0, 0x1020, 1, "p\0q\0int32_t\0");
        assert!(parse(&good).is_some());
        for end in 1..good.len() {
            assert!(parse(&good[..end]).is_none(), "{end}");
        }
        assert!(parse(&[0; 8]).is_none(), "of no length");
        assert!(parse(&record(0, 1, 9, "p\0q\0")).is_none(), "without its arguments");
        assert!(
            parse(&[record(1, 0, 0, "p\0q\0"), record(1, 1 << 40, 0, "p\0q\0")].concat()).is_none(),
            "far"
        );
        let mut other = good;
        other[4] = VERSION + 1;
        assert!(parse(&other).is_none(), "of another version");
    }

    /// The code for illumos, as this system's compiler makes it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn sites_are_recorded_and_sleep() {
        use crate::probes::sites;
        sites::lookup__start(|| panic!("nobody watches"));
        sites::lookup__done(|| panic!("nobody watches"));
        sites::proxy__done(|| panic!("nobody watches"));
        sites::persist(|| panic!("nobody watches"));
        sites::door__call(|| panic!("nobody watches"));

        let all = parse(section()).unwrap();
        let probes = &all.providers["varpd"].probes;
        let types =
            probes.values().map(|p| (p.name.as_str(), p.arguments.join(" "))).collect::<Vec<_>>();
        assert_eq!(
            types,
            [
                ("door-call", "uint32_t int32_t int32_t".to_owned()),
                ("lookup-done", "uint64_t uint64_t char* uint64_t".to_owned()),
                ("lookup-start", "uint64_t uint64_t uint64_t".to_owned()),
                ("persist", "uint64_t int32_t".to_owned()),
                ("proxy-done", "uint64_t uint64_t char* char*".to_owned()),
            ]
        );
    }
}
