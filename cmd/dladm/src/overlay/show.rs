// SPDX-License-Identifier: CDDL-1.0
//! `show-overlay`: properties, target caches and states of overlays.

use crate::getopt::{Parser, Spec, flag, value};
use crate::ofmt::{self, Field, Selection, Table};
use crate::{Context, Fatal, bad_option, warn};
use libdladm::dlmgmt::{Class, Flags, Link};
use libdladm::overlay::{self, Entry, Health, Place, Prop};
use libdladm::{Handle, Status};
use overlay_abi::props::*;
use std::io::{self, BufWriter};
use std::process::ExitCode;

pub const SHOW: &str = "[-f | -t] [[-p] -o field,...] [overlay]";

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

static TARGET_FIELDS: [Field; 12] = [
    Field { name: "LINK", width: 20 },
    Field { name: "TARGET", width: 18 },
    Field { name: "DESTINATION", width: 42 },
    Field { name: "STATE", width: 7 },
    Field { name: "DCID", width: 11 },
    Field { name: "MAC", width: 18 },
    Field { name: "SRCIP", width: 16 },
    Field { name: "DSTIP", width: 16 },
    Field { name: "VLAN", width: 5 },
    Field { name: "VNET", width: 9 },
    Field { name: "NEWVLAN", width: 8 },
    Field { name: "ROUTER", width: 18 },
];

/// Those of version 1, shown to people who ask for none.
const TARGET_DEFAULT: &str = "LINK,TARGET,DESTINATION";

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
    if view == View::Targets && !parsable {
        output.get_or_insert_with(|| TARGET_DEFAULT.to_owned());
    }
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
    if show.incomplete {
        warn(
            "varpd is of version 1: routes, routers and addresses of other data centers \
             that the kernel may know are not shown",
        );
    }
    Ok(if show.troubled { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A view being printed.
struct Show {
    view: View,
    table: Table<BufWriter<io::StdoutLock<'static>>>,
    troubled: bool,
    /// There may be entries that varpd does not tell of.
    incomplete: bool,
}

impl Show {
    fn new(
        view: View,
        fields: &'static [Field],
        output: Option<&str>,
        parsable: bool,
    ) -> Result<Show, Fatal> {
        let table = open_table(fields, output, parsable)?;
        Ok(Show { view, table, troubled: false, incomplete: false })
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
            View::Targets => {
                let each = |entry: &Entry| row(table, &target_row(name, entry));
                overlay::walk_cache(h, link.id, each).map(|all| self.incomplete |= !all)
            }
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

/// The row of an address or a route.
fn target_row(link: &str, entry: &Entry) -> [String; 12] {
    let link = link.to_owned();
    match entry {
        Entry::Target(t) => {
            let state = match t.place {
                Place::At(_) => "valid",
                Place::Drop => "drop",
                Place::Router => "router",
            };
            let (dcid, mac) =
                t.guest.map_or_else(Default::default, |g| (g.dcid.to_string(), g.mac.to_string()));
            let none = String::new;
            let (target, dest) = (t.guest_text(), t.dest_text());
            let state = state.to_owned();
            [link, target, dest, state, dcid, mac, none(), none(), none(), none(), none(), none()]
        }
        Entry::Route(r) => [
            link,
            match r.vlan {
                0 => format!("{}>{}", r.src, r.dst),
                vlan => format!("{}@{vlan}>{}", r.src, r.dst),
            },
            r.at.map_or(String::new(), |at| at.to_string()),
            if r.at.is_some() { "valid" } else { "ask" }.to_owned(),
            r.guest.dcid.to_string(),
            r.guest.mac.to_string(),
            r.src.to_string(),
            r.dst.to_string(),
            r.vlan.to_string(),
            r.vnet.to_string(),
            r.new_vlan.to_string(),
            r.router.to_string(),
        ],
    }
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
