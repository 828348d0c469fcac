// SPDX-License-Identifier: CDDL-1.0
//! A host whose varpd ends and is started anew, over the same kernel and the same files.
use crate::{Host, boot};
use libvarpd::Varpd;
use libvarpd_client::Client;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Host {
    /// Where instances are kept.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// Keeps instances in files from now on.
    pub fn persist(&self) {
        std::fs::create_dir_all(self.run_dir()).unwrap();
        self.varpd.persist_enable(&self.run_dir()).unwrap();
    }

    /// Names of the files there, in order.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.run_dir()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Ends varpd as a kill would, for the kernel and the files, and starts one with the same plugins, which restores
    /// what there is.
    pub fn restart(&mut self) {
        self.restart_with(|_| {});
    }

    /// The same; `change` is called in between, with the directory of plugins that the new varpd loads.
    pub fn restart_with(&mut self, change: impl FnOnce(&Path)) {
        drop(self.door.take());
        self.varpd.quiesce();
        // Something has to be there while there is no varpd.
        let elsewhere = tempfile::tempdir().unwrap();
        let (root, _kernel, _server) = boot(elsewhere.path());
        let placeholder = Varpd::new(&root, slog::Logger::root(slog::Discard, slog::o!())).unwrap();
        let old = std::mem::replace(&mut self.varpd, placeholder);
        // Its threads have references until they have returned.
        let end = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&old) > 1 {
            assert!(Instant::now() < end, "somebody holds the old varpd");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(old);
        // A plugin registers when it is loaded, which the same file is only once.
        let plugins = self.plugins.join("again");
        std::fs::create_dir(&plugins).unwrap();
        for entry in std::fs::read_dir(&self.plugins).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "so") {
                std::fs::copy(&path, plugins.join(path.file_name().unwrap())).unwrap();
            }
        }
        change(&plugins);
        self.plugins = plugins;
        self.start();
    }

    fn start(&mut self) {
        let log = slog::Logger::root(self.log.clone(), slog::o!());
        let varpd = Varpd::new(&self.root, log).unwrap();
        varpd.load_plugins(&self.plugins).unwrap();
        varpd.persist_enable(&self.run_dir()).unwrap();
        varpd.persist_restore().unwrap();
        self.varpd = varpd;
        for _ in 0..3 {
            let varpd = Arc::clone(&self.varpd);
            std::thread::spawn(move || varpd.run_lookups());
        }
        let path = self.dir.path().join("varpd.door");
        self.door = Some(self.varpd.serve(&path).unwrap());
        self.client = Client::open_path(&path).unwrap();
    }
}
