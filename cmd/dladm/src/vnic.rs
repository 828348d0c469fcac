// SPDX-License-Identifier: CDDL-1.0
//! The subcommands of VNICs, as dladm(8) of illumos has them.

use crate::getopt::{Parser, Spec, flag, value};
use crate::link::{name_of, set_props};
use crate::ofmt::Field;
use crate::overlay::{check_new_name, open_table, parse_props};
use crate::{Context, Fatal, bad_option, warn, warn_details};
use libdladm::dlmgmt::{Class, Flags, Link};
use libdladm::vnic::{self, Mac};
use libdladm::{Handle, Status, link};
use overlay_abi::ids::MacAddr;
use std::process::ExitCode;

pub const CREATE: &str = "[-t] -l link [-m auto | random [-r prefix] | address] [-v vid [-f]] \
                          [-p prop=value[,...]] vnic";
pub const DELETE: &str = "[-t] vnic";
pub const SHOW: &str = "[-l link] [[-p] -o field,...] [vnic]";

static CREATE_OPTS: [Spec; 7] = [
    flag('f', "force"),
    value('l', "link"),
    value('m', "mac-address"),
    value('p', "prop"),
    value('r', "mac-prefix"),
    flag('t', "temporary"),
    value('v', "vlan"),
];

pub fn create(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut over, mut mac, mut prefix, mut vid) = (None, None, None, None);
    let (mut force, mut temporary) = (false, false);
    let mut props = Vec::new();
    let mut opts = Parser::new(&CREATE_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("create-vnic", CREATE, e))? {
        match opt {
            'f' => force = true,
            'l' => over = Some(arg),
            'm' => mac = Some(arg),
            'p' => props.push(arg),
            'r' => prefix = Some(parse_prefix(&arg)?),
            't' => temporary = true,
            _ => {
                if vid.is_some() {
                    return Err("the option -v cannot be specified more than once"
                        .to_owned()
                        .into());
                }
                let id = arg.parse::<u16>().ok().filter(|v| (1..=4094).contains(v));
                vid = Some(id.ok_or_else(|| format!("invalid VLAN identifier '{arg}'"))?);
            }
        }
    }
    let operands = opts.operands();
    let ([name], Some(over)) = (operands.as_slice(), over) else {
        return Err(Fatal::Usage);
    };
    if force && vid.is_none() {
        return Err(Fatal::Usage);
    }
    let mac = match mac.as_deref() {
        None | Some("auto") if prefix.is_none() => Mac::Auto,
        None | Some("random") => Mac::Random(prefix.unwrap_or(vnic::DEFAULT_PREFIX)),
        _ if prefix.is_some() => return Err(Fatal::Usage),
        Some(text @ ("factory" | "vrrp")) => {
            return Err(format!("invalid MAC address '{text}': {}", Status::NotSup).into());
        }
        Some(text) => match text.parse() {
            Ok(mac) => Mac::Fixed(mac),
            Err(_) => return Err(format!("invalid MAC address '{text}'").into()),
        },
    };
    check_new_name(name)?;
    let props = match props.join(",") {
        text if props.is_empty() || !text.is_empty() => parse_props(&text),
        _ => None,
    };
    let props = props.ok_or_else(|| "invalid vnic property".to_owned())?;

    let h = context.handle()?;
    let lower = h.by_name(&over).map_err(|_| format!("invalid link name '{over}'"))?;
    let failed = |e: Status| Fatal::Text(format!("vnic creation over {over} failed: {e}"));
    let spec = vnic::Create { name, over: lower.id, mac, vid: vid.unwrap_or(0), force, temporary };
    let (id, _) = vnic::create(&h, &spec).map_err(|e| failed(warn_details(e)))?;
    if !set_props(&h, id, name, &props) {
        // As with one call in the kernel: all or nothing.
        if let Err(e) = vnic::delete(&h, id) {
            warn(format!("cannot delete {name} again: {e}"));
        }
        return Err(failed(Status::Failed));
    }
    Ok(ExitCode::SUCCESS)
}

/// The first three bytes of a random address, such as `2:8:20`.
fn parse_prefix(text: &str) -> Result<[u8; 3], Fatal> {
    match format!("{text}:0:0:0").parse() {
        Ok(MacAddr([a, b, c, 0, 0, 0])) => Ok([a, b, c]),
        _ => Err(format!("invalid MAC address prefix '{text}'").into()),
    }
}

static DELETE_OPTS: [Spec; 1] = [flag('t', "temporary")];

pub fn delete(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut opts = Parser::new(&DELETE_OPTS, words);
    while opts.next().map_err(|e| bad_option("delete-vnic", DELETE, e))?.is_some() {}
    let operands = opts.operands();
    let [name] = operands.as_slice() else {
        return Err(Fatal::Usage);
    };
    let h = context.handle()?;
    let link = h.by_name(name).ok().filter(|l| l.class == Class::VNIC);
    let link = link.ok_or_else(|| format!("invalid link name '{name}'"))?;
    vnic::delete(&h, link.id).map_err(|e| format!("vnic deletion failed: {e}"))?;
    Ok(ExitCode::SUCCESS)
}

static SHOW_OPTS: [Spec; 5] = [
    value('l', "link"),
    value('o', "output"),
    flag('p', "parsable"),
    flag('p', "parseable"),
    flag('P', "persistent"),
];

static FIELDS: [Field; 6] = [
    Field { name: "LINK", width: 13 },
    Field { name: "OVER", width: 13 },
    Field { name: "SPEED", width: 7 },
    Field { name: "MACADDRESS", width: 18 },
    Field { name: "MACADDRTYPE", width: 20 },
    Field { name: "VID", width: 7 },
];

pub fn show(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut over, mut output, mut parsable, mut flags) = (None, None, false, Flags::ACTIVE);
    let mut opts = Parser::new(&SHOW_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("show-vnic", SHOW, e))? {
        match opt {
            'l' => over = Some(arg),
            'o' => output = Some(arg),
            'P' => flags = Flags::PERSIST,
            _ => parsable = true,
        }
    }
    let operands = opts.operands();
    if operands.len() > 1 {
        return Err(Fatal::Usage);
    }
    let mut table = open_table(&FIELDS, output.as_deref(), parsable)?;

    let h = context.handle()?;
    let over = match over {
        None => None,
        Some(name) => {
            let link = h.by_name(&name).map_err(|e| format!("invalid link '{name}': {e}"))?;
            Some(link.id)
        }
    };
    let vnics = match operands.first() {
        Some(name) => {
            let found = h.by_name(name).ok().filter(|l| l.class == Class::VNIC);
            vec![found.ok_or_else(|| format!("invalid vnic name '{name}': {}", Status::NotFound))?]
        }
        None => list(&h, Class::VNIC, flags)?,
    };
    for vnic in vnics {
        let Ok(info) = vnic::info(&h, vnic.id) else {
            // Only a name, its device is not there.
            continue;
        };
        if over.is_some_and(|id| id != info.over) {
            continue;
        }
        table.row(&[
            vnic.name,
            name_of(&h, info.over),
            link::speed(&h, vnic.id).to_string(),
            info.mac.to_string(),
            info.mac_type_text().to_owned(),
            info.vid.to_string(),
        ])?;
    }
    table.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// All links of a class.
pub fn list(h: &Handle, class: Class, flags: Flags) -> Result<Vec<Link>, Fatal> {
    let links = h.links().links(class, flags);
    Ok(links.map_err(|e| format!("cannot list links: {}", Status::from(e)))?)
}
