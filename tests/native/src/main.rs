// SPDX-License-Identifier: CDDL-1.0
//! The smoke program: `overlay-smoke`, without arguments, as root.

use devctl::Root;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "illumos")]
    let send = overlay_smoke::dlpi::send;
    #[cfg(not(target_os = "illumos"))]
    let send = |_: &str, _: &overlay_smoke::Frame| Err("there is no DLPI here".to_owned());
    let root = Root::from_env_or(std::env::args_os().nth(1).map(Into::into));
    match overlay_smoke::run(&root, &mut std::io::stdout(), &send) {
        0 => ExitCode::SUCCESS,
        failed => {
            println!("{failed} checks failed");
            ExitCode::FAILURE
        }
    }
}
