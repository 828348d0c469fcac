// SPDX-License-Identifier: CDDL-1.0
//! Answers without an end known beforehand, as JSON lines.

use super::{Api, Problem};
use crate::change::Change;
use crate::directory::Changed;
use crate::record::Write;
use crate::store::{Snapshot, Table};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Bytes of an export that are put together before they are sent.
const CHUNK: usize = 64 * 1024;

type Lines = mpsc::Sender<Result<String, std::io::Error>>;

fn lines(receiver: mpsc::Receiver<Result<String, std::io::Error>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/jsonl")];
    (kind, Body::from_stream(ReceiverStream::new(receiver))).into_response()
}

/// Everything, as it is now: one change that restores a record on each line.
#[utoipa::path(get, path = "/api/v1/export", responses((status = 200, body = Change)))]
pub async fn export(State(api): State<Api>) -> Result<Response, Problem> {
    let snapshot = api.server.directory.snapshot()?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        if let Err(e) = write_all(&*snapshot, &sender) {
            // The answer has begun; that it is cut off is all that the client can be told.
            let _ = sender.blocking_send(Err(std::io::Error::other(e)));
        }
    });
    Ok(lines(receiver))
}

fn write_all(snapshot: &dyn Snapshot, sender: &Lines) -> Result<(), String> {
    let mut text = String::new();
    for table in Table::ALL {
        let mut bad = None;
        let mut visit = |key: &[u8], value: &[u8]| {
            let change = match Write::from_record(table, key, value) {
                Ok(write) => change(write),
                Err(e) => {
                    bad = Some(e.to_string());
                    return false;
                }
            };
            if let Some(Ok(line)) = change.map(|c| serde_json::to_string(&c)) {
                text.push_str(&line);
                text.push('\n');
            }
            text.len() < CHUNK || sender.blocking_send(Ok(std::mem::take(&mut text))).is_ok()
        };
        snapshot.scan(table, &[], &mut visit).map_err(|e| e.to_string())?;
        if let Some(bad) = bad {
            return Err(bad);
        }
    }
    // Whoever asked may be gone.
    let _ = sender.blocking_send(Ok(text));
    Ok(())
}

fn change(write: Write) -> Option<Change> {
    match write {
        Write::Network(_, record) => record.map(Change::Network),
        Write::Host(_, record) => record.map(Change::Host),
        Write::Port(_, _, record) => record.map(Change::Port),
        Write::Route(_, record) => record.map(Change::Route),
        Write::Log(_, _, record) => record.map(Change::Log),
    }
}

/// The last changes, and from then on each as it is made, one a line. An empty line every now and then says
/// that we are still here. The stream ends when the server stops, or when the reader is too slow.
#[utoipa::path(get, path = "/api/v1/watch", responses((status = 200, body = Changed)))]
pub async fn watch(State(mut api): State<Api>) -> Response {
    let (recent, mut changes) = api.server.directory.watch();
    let (sender, receiver) = mpsc::channel(16);
    let line = |changed: &Arc<Changed>| {
        let text = serde_json::to_string(&**changed).unwrap_or_default();
        Ok(text + "\n")
    };
    tokio::spawn(async move {
        for changed in &recent {
            if sender.send(line(changed)).await.is_err() {
                return;
            }
        }
        let mut alive = tokio::time::interval(std::time::Duration::from_secs(15));
        loop {
            let text = tokio::select! {
                changed = changes.recv() => match changed {
                    Ok(changed) => line(&changed),
                    Err(RecvError::Closed | RecvError::Lagged(_)) => return,
                },
                _ = alive.tick() => Ok("\n".to_owned()),
                _ = api.stop.wait_for(|stop| *stop) => return,
            };
            if sender.send(text).await.is_err() {
                return;
            }
        }
    });
    lines(receiver)
}
