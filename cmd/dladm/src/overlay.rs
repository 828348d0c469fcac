// SPDX-License-Identifier: CDDL-1.0
//! The subcommands of overlays (spec/varpd.md 8.2 to 8.5, 8.7).

mod modify;
mod show;

pub use modify::{MODIFY, modify};
pub use show::{SHOW, open_table, show};

use crate::getopt::{Parser, Spec, flag, value};
use crate::{Context, Fatal, bad_option, warn_details};
use libdladm::dlmgmt::{MAXLINKNAMELEN, valid_name};
use libdladm::overlay::{self, PropArg};
use overlay_abi::ids::VnetId;
use std::process::ExitCode;

pub const CREATE: &str =
    "[-t] [-d dcid] -e encap -s search -v vnetid [-p prop=value[,...]] overlay";
pub const DELETE: &str = "overlay";

/// Longest text of all `-p` options together, its NUL included.
const MAX_PROPS: usize = 2048;

static CREATE_OPTS: [Spec; 6] = [
    value('d', "dcid"),
    value('e', "encap"),
    value('p', "prop"),
    value('s', "search"),
    flag('t', "temporary"),
    value('v', "vnetid"),
];

pub fn create(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut encap, mut search, mut vnetid) = (None, None, None);
    let (mut temporary, mut dcid) = (false, 0);
    let mut props = String::new();
    let mut opts = Parser::new(&CREATE_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("create-overlay", CREATE, e))? {
        match opt {
            'd' => dcid = parse_dcid(&arg)?,
            'e' => encap = Some(arg),
            's' => search = Some(arg),
            't' => temporary = true,
            'v' => vnetid = Some(parse_vnetid(&arg)?),
            _ => {
                if !props.is_empty() {
                    props.push(',');
                }
                props += &arg;
                if props.len() >= MAX_PROPS {
                    return Err(format!("property list too long '{props}'").into());
                }
                // An empty -p is a mistake, which an empty list would hide.
                if arg.is_empty() {
                    props.push(',');
                }
            }
        }
    }
    let need = |what| Fatal::Text(format!("missing required {what}"));
    let vnetid = vnetid.ok_or_else(|| need("virtual network id"))?;
    let encap = encap.ok_or_else(|| need("encapsulation plugin"))?;
    let search = search.ok_or_else(|| need("search plugin"))?;
    let operands = opts.operands();
    let [name] = operands.as_slice() else {
        return Err("missing device name".to_owned().into());
    };
    check_new_name(name)?;
    for (what, plugin) in [("encapsulation", &encap), ("search", &search)] {
        if plugin.len() >= MAXLINKNAMELEN {
            return Err(format!("{what} plugin name too long '{plugin}'").into());
        }
    }
    let props =
        parse_props(&props).ok_or_else(|| Fatal::Text("invalid overlay property".to_owned()))?;

    let h = context.handle()?;
    let spec = overlay::Create {
        name,
        encap: &encap,
        search: &search,
        vnetid,
        dcid,
        props: &props,
        temporary,
    };
    match overlay::create(&h, &spec) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(e) => Err(format!("overlay creation failed: {}", warn_details(e)).into()),
    }
}

fn parse_vnetid(arg: &str) -> Result<VnetId, Fatal> {
    if arg.is_empty() || !arg.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("couldn't parse virtual networkd id: {arg}").into());
    }
    let id = arg.parse().map_err(|_| format!("virtual networkd id too large: {arg}"))?;
    Ok(VnetId(id))
}

/// A number of a data center: 1 to 10 digits, and not too large.
fn parse_dcid(text: &str) -> Result<u32, Fatal> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let dcid = text.parse().ok().filter(|_| digits);
    dcid.ok_or_else(|| format!("invalid data center id: {text}").into())
}

/// Whether `name` may be given to a new link.
pub fn check_new_name(name: &str) -> Result<(), Fatal> {
    if name.len() >= MAXLINKNAMELEN {
        return Err(format!("link name too long '{name}'").into());
    }
    if !valid_name(name) {
        return Err(format!("invalid link name '{name}'").into());
    }
    Ok(())
}

/// Reads `name=value,value,name=value`: a word without `=` is one more value of the property before
/// it. `None` for an empty word, an empty name or value, a second `=`, or a value before any
/// property.
pub fn parse_props(text: &str) -> Option<Vec<PropArg>> {
    let mut props: Vec<PropArg> = Vec::new();
    if text.is_empty() {
        return Some(props);
    }
    for word in text.split(',') {
        match word.split_once('=') {
            Some((name, value))
                if !name.is_empty() && !value.is_empty() && !value.contains('=') =>
            {
                props.push(PropArg { name: name.to_owned(), values: vec![value.to_owned()] });
            }
            None if !word.is_empty() => props.last_mut()?.values.push(word.to_owned()),
            _ => return None,
        }
    }
    Some(props)
}

pub fn delete(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut opts = Parser::new(&[], words);
    if let Err(e) = opts.next() {
        return Err(bad_option("delete-overlay", DELETE, e));
    }
    let operands = opts.operands();
    let [name] = operands.as_slice() else {
        return Err(Fatal::Usage);
    };
    let h = context.handle()?;
    let done = h.by_name(name).and_then(|link| overlay::delete(&h, link.id));
    done.map_err(|e| format!("failed to delete {name}: {e}"))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_lists() {
        let p = |n: &str, v: &[&str]| PropArg {
            name: n.to_owned(),
            values: v.iter().map(|s| s.to_string()).collect(),
        };
        assert_eq!(parse_props(""), Some(vec![]));
        assert_eq!(
            parse_props("vxlan/listen_ip=::1,a=1,2,b=x:y/z"),
            Some(vec![p("vxlan/listen_ip", &["::1"]), p("a", &["1", "2"]), p("b", &["x:y/z"])])
        );
        for bad in ["a", "=1", "a=", "a=b=c", "a=1,", ",a=1", "a=1,,b=2", "5,a=1"] {
            assert_eq!(parse_props(bad), None, "{bad}");
        }
    }

    #[test]
    fn s8_7_data_center_ids_are_32_bits_in_decimal() {
        for (text, id) in [("0", 0), ("7", 7), ("0000000007", 7), ("4294967295", u32::MAX)] {
            assert_eq!(parse_dcid(text).ok(), Some(id), "{text}");
        }
        for bad in ["", "4294967296", "00000000007", "-1", "+1", "0x1", " 1", "1 "] {
            assert!(parse_dcid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn defect_49_vnetid_takes_64_bits_and_knows_overflow() {
        let text = |a| match parse_vnetid(a) {
            Ok(id) => id.to_string(),
            Err(Fatal::Text(t)) => t,
            Err(_) => unreachable!(),
        };
        assert_eq!(text("18446744073709551615"), "18446744073709551615");
        assert_eq!(
            text("18446744073709551616"),
            "virtual networkd id too large: 18446744073709551616"
        );
        for bad in ["", "x", "-1", "+1", " 1", "1 ", "0x10"] {
            assert_eq!(text(bad), format!("couldn't parse virtual networkd id: {bad}"));
        }
        assert_eq!(text("1"), "1", "an earlier overflow leaves nothing behind");
    }
}
