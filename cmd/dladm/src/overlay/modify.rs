// SPDX-License-Identifier: CDDL-1.0
//! `modify-overlay`: changes the target cache and properties of an overlay that works.

use super::{parse_dcid, parse_props};
use crate::getopt::{Parser, Spec, flag, value};
use crate::{Context, Fatal, bad_option, warn_details};
use libdladm::dlmgmt::{Class, Link};
use libdladm::overlay::{self, Guest, PropArg};
use libdladm::{Handle, Status};
use std::process::ExitCode;

pub const MODIFY: &str = "-d [dcid/]mac | -f | -p prop=value[,...] | -s [dcid/]mac=ip:port overlay";

static MODIFY_OPTS: [Spec; 4] = [
    value('d', "delete-entry"),
    flag('f', "flush-table"),
    value('p', "prop"),
    value('s', "set-entry"),
];

/// What `modify-overlay` is to do: with the target cache, or properties.
enum Change {
    Flush,
    Properties(Vec<PropArg>),
    Delete(Guest),
    /// The whole argument, and its parts if there was a `=`.
    Set(String, Option<(Guest, String)>),
}

pub fn modify(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut seen = Vec::new();
    let mut changes = Vec::new();
    let mut opts = Parser::new(&MODIFY_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("modify-overlay", MODIFY, e))? {
        if seen.contains(&opt) {
            return Err(format!("the option -{opt} cannot be specified more than once").into());
        }
        seen.push(opt);
        changes.push(match opt {
            'f' => Change::Flush,
            'd' => Change::Delete(parse_guest(&arg)?),
            'p' => Change::Properties(parse_list(&arg)?),
            _ => match arg.split_once('=') {
                None => Change::Set(arg, None),
                Some((guest, value)) => {
                    let parts = (parse_guest(guest)?, value.to_owned());
                    Change::Set(arg, Some(parts))
                }
            },
        });
    }
    let change = match changes.len() {
        0 => return Err("need to specify one of -d, -f, -p, or -s".to_owned().into()),
        1 => changes.remove(0),
        _ => return Err("only one of -d, -f, -p, or -s may be used".to_owned().into()),
    };
    let operands = opts.operands();
    let name = match operands.as_slice() {
        [] => return Err("missing required overlay device".to_owned().into()),
        [name] => name,
        _ => return Err("only one overlay device may be specified".to_owned().into()),
    };

    let h = context.handle()?;
    let link = h.by_name(name).map_err(|e| format!("failed to find overlay {name}: {e}"))?;
    if link.class != Class::OVERLAY {
        return Err(format!("{name} is not an overlay").into());
    }
    let (done, what) = match &change {
        Change::Flush => (
            overlay::cache_flush(&h, link.id),
            format!("failed to flush target cache for overlay {name}"),
        ),
        Change::Properties(props) => return set_all(&h, &link, props),
        Change::Delete(guest) => (
            overlay::cache_delete(&h, link.id, *guest),
            format!("failed to flush target {guest} from overlay target cache {name}"),
        ),
        Change::Set(arg, parts) => (
            match parts {
                Some((guest, value)) => overlay::cache_set(&h, link.id, *guest, value),
                None => Err(Status::BadArg.into()),
            },
            format!("failed to set target {arg} for overlay target cache {name}"),
        ),
    };
    done.map_err(|e| format!("{what}: {}", warn_details(e)))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets properties in order, up to one that cannot be set.
fn set_all(h: &Handle, link: &Link, props: &[PropArg]) -> Result<ExitCode, Fatal> {
    for prop in props {
        overlay::set_prop(h, link.id, prop).map_err(|e| {
            let (prop, name, status) = (&prop.name, &link.name, warn_details(e));
            format!("failed to set property {prop} for overlay device {name}: {status}")
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Properties with one value each, at least one.
fn parse_list(text: &str) -> Result<Vec<PropArg>, Fatal> {
    let props = parse_props(text).unwrap_or_default();
    if props.is_empty() || props.iter().any(|prop| prop.values.len() != 1) {
        return Err(format!("invalid overlay property: {text}").into());
    }
    Ok(props)
}

/// An address: `[dcid/]mac`.
fn parse_guest(text: &str) -> Result<Guest, Fatal> {
    let (dcid, mac) = match text.split_once('/') {
        None => (0, text),
        Some((_, mac)) if mac.contains('/') => {
            return Err(format!("invalid mac specification: {text}").into());
        }
        Some((dcid, mac)) => (parse_dcid(dcid)?, mac),
    };
    let mac = mac.parse().map_err(|_| format!("invalid mac address: {mac}"))?;
    Ok(Guest { dcid, mac })
}
