// SPDX-License-Identifier: CDDL-1.0
//! What each layer of each host sees of the first packets, as capture files (`--capture`).

use super::Progress;
use crate::host::Host;
use crate::topology::Topology;
use anyhow::{Context, Result};
use serde::Serialize;
use snoop::record::Recording;
use snoop::source::Place;
use std::path::{Path, PathBuf};

/// A file of packets.
#[derive(Debug, Serialize)]
pub struct Captured {
    host: String,
    /// `vnic`: frames of the guest. `ipnet`: what IP sees there. `underlay`: what carries them.
    layer: &'static str,
    packets: u64,
    file: PathBuf,
}

/// The captures that run.
pub struct Layers(Vec<(String, &'static str, PathBuf, Recording)>);

impl Layers {
    /// Starts a capture of every layer of every host and guest, into a directory, which is made.
    ///
    /// # Errors
    /// A host has no such layer, or a file cannot be made.
    pub fn start(p: &Progress, dir: &Path, t: &Topology, hosts: &[Host]) -> Result<Layers> {
        p.step(&format!("capturing every layer into {}", dir.display()));
        std::fs::create_dir_all(dir).with_context(|| format!("directory {}", dir.display()))?;
        let mut layers = Vec::new();
        for (host, h) in hosts.iter().zip(&t.hosts) {
            let place = Place::new(Some(&host.root), None);
            let mut start = |whose: &str, layer, source: Result<_, _>| {
                let file = dir.join(format!("{whose}-{layer}.pcapng"));
                let start = || anyhow::Ok(Recording::start(source?, &file)?);
                let started = start().with_context(|| format!("host {}, {layer}", host.name))?;
                layers.push((host.name.clone(), layer, file, started));
                anyhow::Ok(())
            };
            for guest in &h.guests {
                // A host with one guest has files of its own name.
                let whose = if h.guests.len() == 1 { &host.name } else { &guest.vnic };
                start(whose, "vnic", place.link(&guest.vnic, false))?;
                start(whose, "ipnet", place.interface(&guest.vnic, true))?;
            }
            start(&host.name, "underlay", place.link("underlay", false))?;
        }
        Ok(Layers(layers))
    }

    /// Ends them.
    ///
    /// # Errors
    /// One has failed, or its file could not be written.
    pub fn stop(self, p: &Progress) -> Result<Vec<Captured>> {
        let stop = |(host, layer, file, recording): (String, _, PathBuf, Recording)| {
            let packets = recording.stop().with_context(|| file.display().to_string())?;
            p.say(&format!("  {}: {packets} packets", file.display()));
            Ok(Captured { host, layer, packets, file })
        };
        self.0.into_iter().map(stop).collect()
    }
}
