// SPDX-License-Identifier: CDDL-1.0
//! The subcommands of overlays (spec/varpd.md 8.2 to 8.5).

use crate::getopt::{Parser, Spec, flag, value};
use crate::ofmt::{self, Field, Selection, Table};
use crate::{Context, Fatal, bad_option, warn, warn_details};
use libdladm::dlmgmt::{Class, Flags, Link, MAXLINKNAMELEN, valid_name};
use libdladm::overlay::{self, Health, Prop, PropArg};
use libdladm::{Handle, Status};
use overlay_abi::ids::{MacAddr, VnetId};
use overlay_abi::props::*;
use std::io::{self, BufWriter};
use std::process::ExitCode;

pub const CREATE: &str = "[-t] -e encap -s search -v vnetid [-p prop=value[,...]] overlay";
pub const DELETE: &str = "overlay";
pub const MODIFY: &str = "-d mac | -f | -p prop=value | -s mac=ip:port overlay";
pub const SHOW: &str = "[-f | -t] [[-p] -o field,...] [overlay]";

/// Longest text of all `-p` options together, its NUL included.
const MAX_PROPS: usize = 2048;

static CREATE_OPTS: [Spec; 5] = [
    value('e', "encap"),
    value('p', "prop"),
    value('s', "search"),
    flag('t', "temporary"),
    value('v', "vnetid"),
];

pub fn create(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let (mut encap, mut search, mut vnetid) = (None, None, None);
    let mut temporary = false;
    let mut props = String::new();
    let mut opts = Parser::new(&CREATE_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("create-overlay", CREATE, e))? {
        match opt {
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
    let spec =
        overlay::Create { name, encap: &encap, search: &search, vnetid, props: &props, temporary };
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

static MODIFY_OPTS: [Spec; 4] = [
    value('d', "delete-entry"),
    flag('f', "flush-table"),
    value('p', "prop"),
    value('s', "set-entry"),
];

/// What `modify-overlay` is to do: with the target cache, or a property.
enum Change {
    Flush,
    Property(PropArg),
    Delete(MacAddr),
    /// The whole argument, and its parts if there was a `=`.
    Set(String, Option<(MacAddr, String)>),
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
            'd' => Change::Delete(parse_mac(&arg)?),
            'p' => Change::Property(parse_prop(&arg)?),
            _ => match arg.split_once('=') {
                None => Change::Set(arg, None),
                Some((mac, value)) => {
                    let parts = (parse_mac(mac)?, value.to_owned());
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
        Change::Property(prop) => (
            overlay::set_prop(&h, link.id, prop),
            format!("failed to set property {} of overlay {name}", prop.name),
        ),
        Change::Delete(mac) => (
            overlay::cache_delete(&h, link.id, *mac),
            format!("failed to flush target {mac} from overlay target cache {name}"),
        ),
        Change::Set(arg, parts) => (
            match parts {
                Some((mac, value)) => overlay::cache_set(&h, link.id, *mac, value),
                None => Err(Status::BadArg.into()),
            },
            format!("failed to set target {arg} for overlay target cache {name}"),
        ),
    };
    done.map_err(|e| format!("{what}: {}", warn_details(e)))?;
    Ok(ExitCode::SUCCESS)
}

/// One property with one value.
fn parse_prop(text: &str) -> Result<PropArg, Fatal> {
    let mut props = parse_props(text).unwrap_or_default();
    match props.pop() {
        Some(prop) if props.is_empty() && prop.values.len() == 1 => Ok(prop),
        _ => Err(format!("invalid overlay property: {text}").into()),
    }
}

fn parse_mac(text: &str) -> Result<MacAddr, Fatal> {
    text.parse().map_err(|_| Fatal::Text(format!("invalid mac address: {text}")))
}

static SHOW_OPTS: [Spec; 5] = [
    flag('f', "fma"),
    value('o', "output"),
    flag('p', "parsable"),
    flag('p', "parseable"),
    flag('t', "target"),
];

static PROP_FIELDS: [Field; 7] = [
    Field { name: "LINK", width: 19 },
    Field { name: "PROPERTY", width: 19 },
    Field { name: "PERM", width: 5 },
    Field { name: "REQ", width: 4 },
    Field { name: "VALUE", width: 11 },
    Field { name: "DEFAULT", width: 10 },
    Field { name: "POSSIBLE", width: 10 },
];

static TARGET_FIELDS: [Field; 3] = [
    Field { name: "LINK", width: 20 },
    Field { name: "TARGET", width: 18 },
    Field { name: "DESTINATION", width: 42 },
];

static FMA_FIELDS: [Field; 3] = [
    Field { name: "LINK", width: 20 },
    Field { name: "STATUS", width: 8 },
    Field { name: "DETAILS", width: 52 },
];

#[derive(Clone, Copy, PartialEq)]
enum View {
    Props,
    Targets,
    Fma,
}

pub fn show(context: &Context, words: Vec<String>) -> Result<ExitCode, Fatal> {
    let mut view = View::Props;
    let (mut parsable, mut output) = (false, None);
    let mut opts = Parser::new(&SHOW_OPTS, words);
    while let Some((opt, arg)) = opts.next().map_err(|e| bad_option("show-overlay", SHOW, e))? {
        match opt {
            'f' => view = View::Fma,
            't' => view = View::Targets,
            'p' => parsable = true,
            _ => output = Some(arg),
        }
    }
    let names = opts.operands();
    let fields: &'static [Field] = match view {
        View::Props => &PROP_FIELDS,
        View::Targets => &TARGET_FIELDS,
        View::Fma => &FMA_FIELDS,
    };
    let mut show = Show::new(view, fields, output.as_deref(), parsable)?;

    let h = context.handle()?;
    if names.is_empty() {
        let links = h.links().links(Class::OVERLAY, Flags::ACTIVE);
        let links = links.map_err(|e| format!("cannot list overlays: {}", Status::from(e)))?;
        for link in links {
            show.link(&h, &link)?;
        }
    }
    for name in &names {
        match h.by_name(name) {
            Err(e) => show.trouble(format!("failed to find {name}: {e}")),
            Ok(link) if link.class == Class::OVERLAY => show.link(&h, &link)?,
            Ok(_) if view == View::Fma => {
                show.table.flush()?;
                return Err(format!("datalink {name} is not an overlay device").into());
            }
            Ok(_) => show.trouble(format!("{name} is not an overlay")),
        }
    }
    show.table.flush()?;
    if view == View::Fma
        && let Some(why) = h.varpd_trouble()
    {
        // The states are true all the same.
        warn(format!("{why}: targets that are not known yet are not found"));
    }
    Ok(if show.troubled { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A view being printed.
struct Show {
    view: View,
    table: Table<BufWriter<io::StdoutLock<'static>>>,
    troubled: bool,
}

impl Show {
    fn new(
        view: View,
        fields: &'static [Field],
        output: Option<&str>,
        parsable: bool,
    ) -> Result<Show, Fatal> {
        Ok(Show { view, table: open_table(fields, output, parsable)?, troubled: false })
    }

    /// Warns; the exit status will be 1.
    fn trouble(&mut self, text: String) {
        // Rows before the warning belong before it on a terminal.
        let _ = self.table.flush();
        warn(text);
        self.troubled = true;
    }

    fn link(&mut self, h: &Handle, link: &Link) -> Result<(), Fatal> {
        let name = &link.name;
        let mut written = Ok(());
        let mut row = |table: &mut Table<_>, values: &[String]| {
            if written.is_ok() {
                written = table.row(values);
            }
        };
        let table = &mut self.table;
        let walked = match self.view {
            View::Props => overlay::walk_prop(h, link.id, |p| {
                if let Some(values) = prop_row(name, p) {
                    row(table, &values);
                }
            }),
            View::Targets => overlay::walk_cache(h, link.id, |t| {
                row(table, &[name.clone(), t.mac_text(), t.dest_text()]);
            }),
            View::Fma => overlay::status(h, link.id).map_err(Into::into).map(|health| {
                let (status, details) = match health {
                    Health::Online => ("ONLINE", "-".to_owned()),
                    Health::Degraded(why) => ("DEGRADED", why),
                };
                row(table, &[name.clone(), status.to_owned(), details]);
            }),
        };
        written?;
        if let Err(failure) = walked {
            let what = match self.view {
                // Its details say it all, status included.
                View::Props => None,
                View::Targets => Some(format!("failed to get targets of overlay {name}")),
                View::Fma => Some(format!("failed to get status of overlay {name}")),
            };
            for detail in failure.details {
                self.trouble(detail);
            }
            if let Some(what) = what {
                self.trouble(format!("{what}: {}", failure.status));
            }
        }
        Ok(())
    }
}

/// Opens a table on standard output with the fields of `-o`.
pub fn open_table(
    fields: &'static [Field],
    output: Option<&str>,
    parsable: bool,
) -> Result<Table<BufWriter<io::StdoutLock<'static>>>, Fatal> {
    let selection = Selection::new(fields, output, parsable).map_err(|e| e.to_string())?;
    if let Some(text) = selection.warning() {
        warn(text);
    }
    let out = BufWriter::new(io::stdout().lock());
    Ok(Table::new(out, fields, selection, ofmt::screen_height()))
}

/// The row of a property; none if its value could not be read.
fn prop_row(link: &str, p: &Prop) -> Option<[String; 7]> {
    let value = p.value.as_ref().ok()?;
    let perm = match p.perm & OVERLAY_PROP_PERM_RW {
        OVERLAY_PROP_PERM_RW => "rw",
        OVERLAY_PROP_PERM_READ => "r-",
        _ => "--",
    };
    let required = if p.perm & OVERLAY_PROP_PERM_REQ != 0 { "y" } else { "-" };
    Some([
        link.to_owned(),
        p.name.clone(),
        perm.to_owned(),
        required.to_owned(),
        overlay::format_value(p.kind, value),
        overlay::format_value(p.kind, &p.default),
        overlay::format_possible(&p.possible),
    ])
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
