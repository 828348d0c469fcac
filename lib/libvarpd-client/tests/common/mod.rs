// SPDX-License-Identifier: CDDL-1.0
//! What the tests share.
use libvarpd_client::Client;
use std::sync::Arc;
use tempfile::TempDir;

/// A door that answers with `reply`, and a client of it.
pub fn server(
    reply: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> (TempDir, door::Server, Client) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("varpd.door");
    let server = door::Server::create(&path, 0o600, Arc::new(move |m, _| reply(m))).unwrap();
    let client = Client::open_path(&path).unwrap();
    (dir, server, client)
}
