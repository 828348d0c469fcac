// SPDX-License-Identifier: CDDL-1.0
//! Tables as illumos' admin commands print them (libinetutil's ofmt; spec/varpd.md 8.5).
//!
//! For people: a header, columns padded to their widths, the last one as it comes.
//!
//! ```text
//!   LINK               PROPERTY           PERM REQ VALUE      DEFAULT   POSSIBLE
//!   overlay0           search             r-   -   files      --        direct,
//!                                                                       files,svp
//!   overlay0           files/config       rw   y   /var/tmp/hosts.json -- --
//! ```
//!
//! * a value that reaches the width of its column is followed by one space, and what it took too
//!   much comes off the padding of the columns after it;
//! * an empty value shows as `--`;
//! * a value with commas is broken behind commas, to go on in the next row;
//! * the header comes again at the top of every screenful.
//!
//! For programs (`-p`): the fields asked for with `-o`, joined by `:`, nothing else. With more
//! than one field `:` and `\` inside a value get a `\` in front.

use std::io::{self, Write};

/// What an empty value looks like to people.
const UNSET: &str = "--";

/// A column: its name in capitals, which is also its header, and its width in characters.
pub struct Field {
    pub name: &'static str,
    pub width: usize,
}

/// A set of fields that cannot be printed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("output fields must be specified in parsable mode")]
    ParsableNeedsFields,
    #[error("unknown output {}", unknown(.0))]
    Unknown(Vec<String>),
    #[error("no valid output fields")]
    NoFields,
}

/// The columns to print, in order, and the names that are no columns.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection {
    columns: Vec<usize>,
    ignored: Vec<String>,
    parsable: bool,
}

impl Selection {
    /// Interprets `-o`: field names in any case, joined by commas; `all`, like none, is every
    /// field. To people unknown fields are only reported, by [`Selection::warning`].
    pub fn new(fields: &[Field], wanted: Option<&str>, parsable: bool) -> Result<Self, Error> {
        let wanted = wanted.filter(|w| !w.eq_ignore_ascii_case("all"));
        let Some(wanted) = wanted else {
            if parsable {
                return Err(Error::ParsableNeedsFields);
            }
            let columns = (0..fields.len()).collect();
            return Ok(Selection { columns, ignored: Vec::new(), parsable });
        };
        let (mut columns, mut ignored) = (Vec::new(), Vec::new());
        for name in wanted.split(',') {
            match fields.iter().position(|f| f.name.eq_ignore_ascii_case(name)) {
                Some(i) => columns.push(i),
                None => ignored.push(name.to_owned()),
            }
        }
        if parsable && !ignored.is_empty() {
            return Err(Error::Unknown(ignored));
        }
        if columns.is_empty() {
            return Err(Error::NoFields);
        }
        Ok(Selection { columns, ignored, parsable })
    }

    /// The text of a warning about unknown fields, if there were any.
    pub fn warning(&self) -> Option<String> {
        (!self.ignored.is_empty())
            .then(|| format!("ignoring unknown output {}", unknown(&self.ignored)))
    }
}

fn unknown(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}'")).collect();
    let s = if names.len() == 1 { "" } else { "s" };
    format!("field{s}: {}", quoted.join(" "))
}

/// A table being printed.
pub struct Table<W> {
    out: W,
    fields: &'static [Field],
    selection: Selection,
    height: usize,
    printed: usize,
}

impl<W: Write> Table<W> {
    /// A table of `fields`, of which `selection` was made, on a screen of `height` rows.
    pub fn new(out: W, fields: &'static [Field], selection: Selection, height: usize) -> Self {
        Table { out, fields, selection, height: height.max(2), printed: 0 }
    }

    /// Prints one row; `values` has one entry for each field of the table, selected or not.
    pub fn row(&mut self, values: &[String]) -> io::Result<()> {
        let columns = &self.selection.columns;
        let text = if self.selection.parsable {
            let escape = columns.len() > 1;
            let fields: Vec<String> = columns
                .iter()
                .map(|&c| if escape { escaped(&values[c]) } else { values[c].clone() })
                .collect();
            fields.join(":") + "\n"
        } else {
            let mut text = String::new();
            if self.printed.is_multiple_of(self.height) {
                let header: Vec<_> =
                    columns.iter().map(|&c| (self.fields[c].width, self.fields[c].name)).collect();
                text += &line(&header);
                self.printed += 1;
            }
            self.printed += 1;
            let cells: Vec<(usize, &str)> =
                columns.iter().map(|&c| (self.fields[c].width, values[c].as_str())).collect();
            text + &wrapped(&cells)
        };
        self.out.write_all(text.as_bytes())
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn escaped(value: &str) -> String {
    value.chars().fold(String::new(), |mut s, c| {
        if matches!(c, ':' | '\\') {
            s.push('\\');
        }
        s.push(c);
        s
    })
}

/// One row of (width, value), in as many lines as its longest wrapped value needs.
fn wrapped(cells: &[(usize, &str)]) -> String {
    let pieces: Vec<Vec<&str>> = cells
        .iter()
        .map(|&(width, value)| split(if value.is_empty() { UNSET } else { value }, width))
        .collect();
    let lines = pieces.iter().map(Vec::len).max().unwrap_or(0);
    (0..lines)
        .map(|n| {
            let cells: Vec<(usize, &str)> = cells
                .iter()
                .zip(&pieces)
                .map(|(&(width, _), p)| (width, p.get(n).copied().unwrap_or("")))
                .collect();
            line(&cells)
        })
        .collect()
}

/// Breaks a value behind commas so that each piece stays below `width` where it can.
fn split(value: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    for token in value.split_inclusive(',') {
        if end > start && chars(&value[start..end + token.len()]) >= width {
            pieces.push(&value[start..end]);
            start = end;
        }
        end += token.len();
    }
    pieces.push(&value[start..]);
    pieces
}

/// One line of (width, value).
fn line(cells: &[(usize, &str)]) -> String {
    let mut text = String::new();
    let mut overflow = 0;
    let Some((last, cells)) = cells.split_last() else {
        return text;
    };
    for &(width, value) in cells {
        let len = chars(value);
        text += value;
        if len + overflow >= width {
            overflow = overflow + len + 1 - width;
            text.push(' ');
        } else {
            text.extend(std::iter::repeat_n(' ', width - overflow - len));
            overflow = 0;
        }
    }
    text + last.1 + "\n"
}

fn chars(s: &str) -> usize {
    s.chars().count()
}

/// The height of the terminal on standard output, 24 if there is none.
pub fn screen_height() -> usize {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|w| usize::from(w.ws_row))
        .filter(|rows| *rows > 0)
        .unwrap_or(24)
}

#[cfg(test)]
mod tests {
    use super::*;

    static PROPS: [Field; 7] = [
        Field { name: "LINK", width: 19 },
        Field { name: "PROPERTY", width: 19 },
        Field { name: "PERM", width: 5 },
        Field { name: "REQ", width: 4 },
        Field { name: "VALUE", width: 11 },
        Field { name: "DEFAULT", width: 10 },
        Field { name: "POSSIBLE", width: 10 },
    ];

    fn print(o: Option<&str>, parsable: bool, height: usize, rows: &[&[&str]]) -> String {
        let selection = Selection::new(&PROPS, o, parsable).unwrap();
        let mut out = Vec::new();
        let mut t = Table::new(&mut out, &PROPS, selection, height);
        for row in rows {
            let row: Vec<String> = row.iter().map(|s| s.to_string()).collect();
            t.row(&row).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    /// The example of spec/varpd.md 8.5, to the byte.
    #[test]
    fn the_table_of_the_specification() {
        let l = "overlay0";
        let got = print(
            None,
            false,
            24,
            &[
                &[l, "mtu", "rw", "-", "1400", "1400", "576-8900"],
                &[l, "vnetid", "rw", "-", "23", "", ""],
                &[l, "encap", "r-", "-", "vxlan", "", "vxlan"],
                &[l, "varpd/id", "r-", "-", "1", "", ""],
                &[l, "vxlan/listen_ip", "rw", "y", "192.0.2.10", "", ""],
                &[l, "vxlan/listen_port", "rw", "y", "4789", "4789", "1-65535"],
                &[l, "search", "r-", "-", "files", "", "direct,files,svp"],
                &[l, "files/config", "rw", "y", "/var/tmp/hosts.json", "", ""],
            ],
        );
        let want = "\
LINK               PROPERTY           PERM REQ VALUE      DEFAULT   POSSIBLE
overlay0           mtu                rw   -   1400       1400      576-8900
overlay0           vnetid             rw   -   23         --        --
overlay0           encap              r-   -   vxlan      --        vxlan
overlay0           varpd/id           r-   -   1          --        --
overlay0           vxlan/listen_ip    rw   y   192.0.2.10 --        --
overlay0           vxlan/listen_port  rw   y   4789       4789      1-65535
overlay0           search             r-   -   files      --        direct,
                                                                    files,svp
overlay0           files/config       rw   y   /var/tmp/hosts.json -- --
";
        assert_eq!(got, want);
    }

    #[test]
    fn overflow_is_made_up_for_by_later_columns() {
        let got = print(
            Some("perm,req,value,link"),
            false,
            24,
            &[&["l", "", "toolong", "y", "v", "", ""], &["l", "", "12345", "1234", "v", "", ""]],
        );
        assert_eq!(
            got,
            "PERM REQ VALUE      LINK\n\
             toolong y v         l\n\
             12345 1234 v        l\n"
        );
    }

    #[test]
    fn header_comes_again() {
        let row: &[&str] = &["l", "p", "rw", "-", "1", "1", "1"];
        let got = print(Some("link"), false, 4, &[row; 7]);
        assert_eq!(got, "LINK\nl\nl\nl\nLINK\nl\nl\nl\nLINK\nl\n");
    }

    #[test]
    fn parsable() {
        let row: &[&str] = &["a:b", r"c\d", "rw", "", "1,2", "", "direct,files,svp"];
        assert_eq!(
            print(Some("LINK,property,req,value,possible"), true, 2, &[row, row, row]),
            r"a\:b:c\\d::1,2:direct,files,svp".to_owned()
                + "\n"
                + r"a\:b:c\\d::1,2:direct,files,svp"
                + "\n"
                + r"a\:b:c\\d::1,2:direct,files,svp"
                + "\n"
        );
        assert_eq!(print(Some("link"), true, 24, &[row]), "a:b\n", "one field is not escaped");
    }

    #[test]
    fn selection() {
        let sel = |o, p| Selection::new(&PROPS, o, p);
        assert_eq!(sel(None, true), Err(Error::ParsableNeedsFields));
        assert_eq!(sel(Some("ALL"), true), Err(Error::ParsableNeedsFields));
        assert_eq!(sel(Some("x,y"), false).unwrap_err().to_string(), "no valid output fields");
        assert_eq!(sel(Some("link,x"), true).unwrap_err().to_string(), "unknown output field: `x'");
        let s = sel(Some("x,link,y"), false).unwrap();
        assert_eq!(s.columns, [0]);
        assert_eq!(s.warning().as_deref(), Some("ignoring unknown output fields: `x' `y'"));
        assert_eq!(sel(Some("all"), false).unwrap().columns.len(), 7);
        assert_eq!(sel(Some("all"), false).unwrap().warning(), None);
    }

    #[test]
    fn wrapping_keeps_every_character() {
        assert_eq!(split("a,b,c", 10), ["a,b,c"]);
        assert_eq!(split("a,b,c", 4), ["a,", "b,c"]);
        assert_eq!(split("verylongvalue,b", 4), ["verylongvalue,", "b"]);
        assert_eq!(split(",,,", 2), [",", ",", ","]);
        assert_eq!(split("", 5), [""]);
    }
}
