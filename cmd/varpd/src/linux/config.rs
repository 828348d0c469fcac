// SPDX-License-Identifier: CDDL-1.0
//! The file of properties, which stands for those that a service has in SMF: a table for each
//! property group, names as there.
//!
//! ```toml
//! [varpd]
//! include_path = ["/usr/lib/varpd"]   # directories with plugins
//! user = "nobody"                     # whom to become, if root
//! wait = 45                           # how long to wait for /dev/overlay, in seconds
//! ```

use crate::options::Options;
use crate::{Fatal, Properties, cannot};
use devctl::Root;
use serde::Deserialize;

/// The file, on the host.
const FILE: &str = "/etc/varpd.toml";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    varpd: Properties,
}

/// The properties, none if there is no file and none was named.
pub fn properties(root: &Root, options: &Options) -> Result<Properties, Fatal> {
    let path = options.config.clone().unwrap_or_else(|| root.path(FILE));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && options.config.is_none() => {
            return Ok(Properties::default());
        }
        Err(e) => return Err(cannot(format!("read {}", path.display()))(e)),
    };
    parse(&text).map_err(|why| Fatal::Config { path, why })
}

fn parse(text: &str) -> Result<Properties, String> {
    // The message shows the line.
    toml::from_str::<File>(text).map(|file| file.varpd).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_everything_and_one_with_nothing() {
        let all = parse("[varpd]\ninclude_path = ['/a', '/b']\nuser = 'u'\nwait = 3\n").unwrap();
        assert_eq!(all.include_path, ["/a", "/b"].map(std::path::PathBuf::from));
        assert_eq!((all.user.as_deref(), all.wait), (Some("u"), Some(3)));
        assert_eq!(parse("").unwrap(), Properties::default());
    }

    #[test]
    fn a_mistake_is_shown_with_its_line() {
        for (text, part) in [
            ("[varpd]\nusr = 'x'\n", "usr"),
            ("[varpd]\nwait = -1\n", "wait = -1"),
            ("[vapd]\n", "vapd"),
            ("[varpd\n", "line 1"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains("line") && why.contains(part), "{why}");
        }
    }
}
