// SPDX-License-Identifier: CDDL-1.0
//! The subcommands of all links, as dladm(8) of illumos has them. Of link properties there is
//! `mtu`.

use crate::getopt::{Parser, Spec, flag, value};
use crate::ofmt::Field;
use crate::overlay::{open_table, parse_props};
use crate::vnic::list;
use crate::{Context, Fatal, bad_option, warn};
use libdladm::dlmgmt::{Class, Flags};
use libdladm::overlay::{PropArg, format_possible};
use libdladm::{Handle, Status, link, vnic};
use overlay_abi::ids::LinkId;
use std::process::ExitCode;

pub const SHOW_LINK: &str = "[[-p] -o field,...] [link]";
pub const SET_LINKPROP: &str = "[-t] -p prop=value[,...] link";
pub const SHOW_LINKPROP: &str = "[[-c] -o field,...] [-p prop,...] [link]";

static SHOW_LINK_OPTS: [Spec; 4] =
    [value('o', "output"), flag('p', "parsable"), flag('p', "parseable"), flag('P', "persistent")];

static LINK_FIELDS: [Field; 6] = [
    Field { name: "LINK", width: 12 },
    Field { name: "CLASS", width: 10 },
    Field { name: "MTU", width: 7 },
    Field { name: "STATE", width: 9 },
    Field { name: "BRIDGE", width: 11 },
    Field { name: "OVER", width: 30 },
];

pub fn show_link(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut output, mut parsable, mut flags) = (None, false, Flags::ACTIVE);
    let mut opts = Parser::new(&SHOW_LINK_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("show-link", SHOW_LINK, e))? {
        match opt {
            'o' => output = Some(arg),
            'P' => flags = Flags::PERSIST,
            _ => parsable = true,
        }
    }
    let operands = opts.operands();
    if operands.len() > 1 {
        return Err(Fatal::Usage);
    }
    let mut table = open_table(&LINK_FIELDS, output.as_deref(), parsable)?;

    let h = context.handle()?;
    let links = match operands.first() {
        Some(name) => vec![find(&h, name)?],
        None => list(&h, Class::ALL, flags)?,
    };
    for l in links {
        // A name without a device has no MTU.
        let mtu = link::max_sdu(&h, l.id).map_or(String::new(), |mtu| mtu.to_string());
        let over = match l.class {
            Class::VNIC => vnic::info(&h, l.id).map_or(String::new(), |i| name_of(&h, i.over)),
            _ => String::new(),
        };
        let state = link::state(&h, l.id).to_owned();
        table.row(&[l.name, l.class.to_string(), mtu, state, String::new(), over])?;
    }
    table.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn find(h: &Handle, name: &str) -> Result<libdladm::dlmgmt::Link, Fatal> {
    Ok(h.by_name(name).map_err(|e| format!("link {name} is not valid: {e}"))?)
}

/// The name of a link, `?` if it has none any more.
pub fn name_of(h: &Handle, id: LinkId) -> String {
    h.by_id(id).map_or("?".to_owned(), |link| link.name)
}

static SET_OPTS: [Spec; 2] = [value('p', "prop"), flag('t', "temporary")];

pub fn set_linkprop(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut props = Vec::new();
    let mut opts = Parser::new(&SET_OPTS, words);
    while let Some((opt, arg)) =
        opts.next().map_err(|e| bad_option("set-linkprop", SET_LINKPROP, e))?
    {
        if opt == 'p' {
            props.push(arg);
        }
    }
    let operands = opts.operands();
    let [name] = operands.as_slice() else {
        return Err(Fatal::Usage);
    };
    if props.is_empty() {
        return Err("link property must be specified".to_owned().into());
    }
    let props = parse_props(&props.join(",")).filter(|p| !p.is_empty());
    let props = props.ok_or_else(|| "invalid link property".to_owned())?;

    let h = context.handle()?;
    let link = find(&h, name)?;
    let all = set_props(&h, link.id, name, &props);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sets each property, with a warning for each that cannot be; whether all could.
pub fn set_props(h: &Handle, id: LinkId, name: &str, props: &[PropArg]) -> bool {
    let mut all = true;
    for p in props {
        if let Err(e) = set_prop(h, id, p) {
            warn(format!("cannot set link property '{}' on '{name}': {e}", p.name));
            all = false;
        }
    }
    all
}

fn set_prop(h: &Handle, id: LinkId, prop: &PropArg) -> Result<(), Status> {
    if prop.name != "mtu" {
        return Err(Status::NotFound);
    }
    let [value] = prop.values.as_slice() else {
        return Err(Status::BadValCnt);
    };
    if !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Status::BadVal);
    }
    let mtu = value.parse().map_err(|_| Status::BadVal)?;
    // What the driver calls an invalid argument can only be the value.
    link::set_mtu(h, id, mtu).map_err(|e| if e == Status::BadArg { Status::BadVal } else { e })
}

static SHOW_OPTS: [Spec; 6] = [
    flag('c', "parsable"),
    flag('c', "parseable"),
    value('o', "output"),
    value('p', "prop"),
    flag('P', "persistent"),
    flag('t', "temporary"),
];

static PROP_FIELDS: [Field; 6] = [
    Field { name: "LINK", width: 13 },
    Field { name: "PROPERTY", width: 16 },
    Field { name: "PERM", width: 5 },
    Field { name: "VALUE", width: 15 },
    Field { name: "DEFAULT", width: 15 },
    Field { name: "POSSIBLE", width: 20 },
];

pub fn show_linkprop(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut output, mut parsable, mut wanted) = (None, false, Vec::new());
    let mut opts = Parser::new(&SHOW_OPTS, words);
    while let Some((opt, arg)) =
        opts.next().map_err(|e| bad_option("show-linkprop", SHOW_LINKPROP, e))?
    {
        match opt {
            'o' => output = Some(arg),
            'p' => wanted.extend(arg.split(',').map(str::to_owned)),
            'c' => parsable = true,
            _ => {}
        }
    }
    let operands = opts.operands();
    if operands.len() > 1 {
        return Err(Fatal::Usage);
    }
    let mut table = open_table(&PROP_FIELDS, output.as_deref(), parsable)?;

    let h = context.handle()?;
    let links = match operands.first() {
        Some(name) => vec![find(&h, name)?],
        None => list(&h, Class::ALL, Flags::ACTIVE)?,
    };
    let mut code = ExitCode::SUCCESS;
    for name in wanted.iter().filter(|p| *p != "mtu") {
        warn(format!("invalid property '{name}'"));
        code = ExitCode::FAILURE;
    }
    let mtu_wanted = wanted.is_empty() || wanted.iter().any(|p| p == "mtu");
    for l in links.into_iter().filter(|_| mtu_wanted) {
        match link::mtu(&h, l.id) {
            Ok(mtu) => table.row(&[
                l.name,
                "mtu".to_owned(),
                if mtu.writable { "rw" } else { "r-" }.to_owned(),
                mtu.value.to_string(),
                mtu.default.map_or(String::new(), |v| v.to_string()),
                format_possible(&mtu.possible),
            ])?,
            // With all links asked for, those that are only names are passed over.
            Err(_) if operands.is_empty() => {}
            Err(e) => {
                warn(format!("cannot get link property 'mtu' for {}: {e}", l.name));
                code = ExitCode::FAILURE;
            }
        }
    }
    table.flush()?;
    Ok(code)
}
