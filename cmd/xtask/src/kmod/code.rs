// SPDX-License-Identifier: CDDL-1.0
//! What is checked on instructions, all of them.
//!
//! The size of a frame is read from the instructions that move the stack pointer, along all paths
//! through a function: so it holds for the bytes that are shipped, whoever compiled them.

use super::check::{Report, Rule, at};
use super::view::{Region, View};
use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};
use std::collections::BTreeMap;

/// Largest frame of a function with its return address, bytes. A kernel stack has 20 KiB, of which
/// the caller of a driver has used an unknown part.
pub const FRAME_MAX: u64 = 2048;

/// Checks the code and measures frames.
pub(super) fn check(view: &View, report: &mut Report) {
    for region in &view.regions {
        if !view.sections[region.start.section].is_code() {
            continue;
        }
        let code = decode(view, region, report);
        report.instructions += code.len();
        for i in code.values() {
            registers(view, region, i, report);
        }
        match frame(&code, region.start.offset) {
            Ok(size) => {
                if size > FRAME_MAX {
                    let place = at(view, region.start.section, region.start.offset);
                    report.wrong(
                        Rule::Frame,
                        place,
                        format!("{size} bytes, more than {FRAME_MAX}"),
                    );
                }
                report.frames.push((size, region.name.clone()));
            }
            Err(ip) => {
                let what = "moves the stack pointer by an amount that cannot be known";
                report.wrong(Rule::Frame, at(view, region.start.section, ip), what);
            }
        }
    }
    report.frames.sort_by(|a, b| b.cmp(a));
}

/// The instructions of a region by offset in the section.
pub(super) fn instructions(view: &View, region: &Region) -> Vec<Instruction> {
    let (bytes, start) = (view.bytes_of(region), region.start.offset);
    Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).into_iter().collect()
}

fn decode(view: &View, region: &Region, report: &mut Report) -> BTreeMap<u64, Instruction> {
    let mut code = BTreeMap::new();
    for i in instructions(view, region) {
        if i.is_invalid() {
            let place = at(view, region.start.section, i.ip());
            report.wrong(Rule::Instruction, place, "not an instruction");
        }
        code.insert(i.ip(), i);
    }
    code
}

fn registers(view: &View, region: &Region, i: &Instruction, report: &mut Report) {
    let mut factory = InstructionInfoFactory::new();
    let place = || at(view, region.start.section, i.ip());
    let is_vector = |r: Register| r.is_vector_register() || r.is_mm() || r.is_st() || r.is_k();
    let by_operand = factory.info(i).used_registers().iter().any(|u| is_vector(u.register()));
    // Those that use the floating point stack without naming it, and those for all of the state.
    let units = [CpuidFeature::FPU, CpuidFeature::MMX, CpuidFeature::FXSR, CpuidFeature::XSAVE];
    if by_operand || i.cpuid_features().iter().any(|f| units.contains(f)) {
        let what = format!("{:?} uses a vector or floating point register", i.mnemonic());
        return report.wrong(Rule::Vector, place(), what);
    }
    let gs_by_name = matches!(
        i.mnemonic(),
        Mnemonic::Swapgs
            | Mnemonic::Rdfsbase
            | Mnemonic::Rdgsbase
            | Mnemonic::Wrfsbase
            | Mnemonic::Wrgsbase
    );
    let is_user_segment = |r: Register| matches!(r, Register::FS | Register::GS);
    let by_operand = factory.info(i).used_registers().iter().any(|u| is_user_segment(u.register()));
    if gs_by_name || by_operand || is_user_segment(i.segment_prefix()) {
        report.wrong(Rule::Segment, place(), format!("{:?} uses a segment register", i.mnemonic()));
    }
}

/// Depth of the stack, and what it was when the frame pointer was set to it.
#[derive(Clone, Copy)]
struct Depth {
    now: i64,
    base: Option<i64>,
}

/// Most bytes of stack that the function uses, or where it cannot be known.
fn frame(code: &BTreeMap<u64, Instruction>, entry: u64) -> Result<u64, u64> {
    let start = Depth { now: 8, base: None };
    let mut most = start.now;
    let mut seen = BTreeMap::new();
    let mut todo = vec![(entry, start)];
    let mut jump_table = None;
    loop {
        let Some((ip, depth)) = todo.pop().or_else(|| {
            // Behind an indirect jump: what no other path reached.
            let depth: Depth = jump_table?;
            code.keys().find(|ip| !seen.contains_key(*ip)).map(|ip| (*ip, depth))
        }) else {
            return Ok(most as u64);
        };
        let Some(i) = code.get(&ip) else { continue };
        if seen.insert(ip, ()).is_some() {
            continue;
        }
        let depth = step(i, depth).ok_or(ip)?;
        most = most.max(depth.now);
        match i.flow_control() {
            FlowControl::Return | FlowControl::Exception => {}
            FlowControl::UnconditionalBranch => todo.push((i.near_branch_target(), depth)),
            FlowControl::IndirectBranch => jump_table = Some(depth),
            FlowControl::ConditionalBranch => {
                todo.push((i.near_branch_target(), depth));
                todo.push((i.next_ip(), depth));
            }
            _ => todo.push((i.next_ip(), depth)),
        }
    }
}

/// The depth after an instruction.
fn step(i: &Instruction, at: Depth) -> Option<Depth> {
    let rsp_rbp = |dst, src| i.op0_register() == dst && i.op1_register() == src;
    let now = match i.mnemonic() {
        // Comes back with the stack as it was.
        Mnemonic::Call => at.now,
        Mnemonic::Ret => at.now,
        Mnemonic::Leave => at.base? - 8,
        Mnemonic::Mov if rsp_rbp(Register::RBP, Register::RSP) => {
            return Some(Depth { base: Some(at.now), ..at });
        }
        Mnemonic::Mov if rsp_rbp(Register::RSP, Register::RBP) => at.base?,
        Mnemonic::Lea if i.op0_register() == Register::RSP => {
            let simple = i.memory_index() == Register::None;
            let from = match i.memory_base() {
                Register::RBP if simple => at.base?,
                Register::RSP if simple => at.now,
                _ => return None,
            };
            from.checked_sub(i.memory_displacement64() as i64)?
        }
        Mnemonic::Sub | Mnemonic::Add | Mnemonic::And if i.op0_register() == Register::RSP => {
            let n = immediate(i)?;
            match i.mnemonic() {
                Mnemonic::Sub => at.now.checked_add(n)?,
                Mnemonic::Add => at.now.checked_sub(n)?,
                // Rounds down: at most this much further.
                _ => at.now.checked_add(-1 - n).filter(|d| *d >= at.now)?,
            }
        }
        _ => {
            let moved = i64::from(i.stack_pointer_increment());
            if moved == 0 && writes_rsp(i) {
                return None;
            }
            at.now.checked_sub(moved)?
        }
    };
    Some(Depth { now, ..at })
}

fn immediate(i: &Instruction) -> Option<i64> {
    match i.op1_kind() {
        OpKind::Immediate8to64 | OpKind::Immediate32to64 => Some(i.immediate(1) as i64),
        _ => None,
    }
}

fn writes_rsp(i: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    factory.info(i).used_registers().iter().any(|u| {
        u.register().full_register() == Register::RSP
            && matches!(
                u.access(),
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
    })
}
