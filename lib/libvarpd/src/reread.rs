// SPDX-License-Identifier: CDDL-1.0
//! Asking plugins to read their files again.
//!
//! Version 1 of the plugin interface has no call for that. What it has is that a plugin whose property
//! `NAME/config` is set while it works goes over to what the file says now; so the property is set to
//! the value that it has.
use crate::instance::Instance;
use crate::{Varpd, lock};
use overlay_abi::errno::Errno;

impl Varpd {
    /// Lets every instance read its configuration file again, if it has one. An instance whose file is
    /// no good keeps what it had; that is logged.
    pub fn reread(&self) {
        let instances: Vec<_> = lock(&self.instances).live.values().cloned().collect();
        for instance in instances {
            let log = self.log.new(slog::o!("instance" => instance.id().0));
            match instance.reread() {
                Ok(true) => slog::info!(log, "configuration read again"),
                Ok(false) => {}
                Err(e) => slog::error!(log, "the configuration cannot be used, the old one stays";
                    "error" => e.name()),
            }
        }
    }
}

impl Instance {
    /// Whether there was something to read.
    fn reread(&self) -> Result<bool, Errno> {
        let name = format!("{}/config", self.plugin().name());
        let id = match self.prop_by_name(name.as_bytes()) {
            Ok((id, _)) => id,
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(e),
        };
        let value = self.get_prop(id)?;
        if value.is_empty() {
            return Ok(false);
        }
        self.set_value(id, &value).map(|()| true)
    }
}
