// SPDX-License-Identifier: CDDL-1.0
//! A headless Chromium, driven over two pipes by the DevTools protocol: JSON messages that end with a zero byte.

use crate::common::LONG;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What the package may be called by.
const NAMES: [&str; 3] = ["chromium-headless-shell", "chromium", "chromium-browser"];

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    last_id: u64,
    /// Of the page, once there is one.
    session: Option<String>,
    /// What is typed where the page asks for something.
    typed: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` after counting the test as skipped: there is no Chromium on this machine.
    pub fn start() -> Option<Browser> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there = |name: &&&str| std::env::split_paths(&path).any(|dir| dir.join(name).exists());
        let Some(name) = NAMES.iter().find(there) else {
            test_skip::skip("no Chromium (Debian: chromium-headless-shell)");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It reads descriptor 3 and writes 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", name])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--remote-debugging-pipe", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Browser {
            child,
            to,
            from: BufReader::new(from),
            last_id: 0,
            session: None,
            typed: String::new(),
            _profile: profile,
        })
    }

    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        write!(self.to, "{message}\0").unwrap();
        self.last_id
    }

    /// A command, and its result. Dialogs that open meanwhile are answered.
    fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "{method}: the browser is gone");
            let mut message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["method"] == "Page.javascriptDialogOpening" {
                let typed = self.typed.clone();
                let answer = json!({"accept": true, "promptText": typed});
                self.send("Page.handleJavaScriptDialog", answer);
            }
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
        }
    }

    /// Shows a page; `typed` is the answer to whatever it asks.
    pub fn open(&mut self, url: &str, typed: &str) {
        self.typed = typed.to_owned();
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach);
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        self.call("Page.enable", json!({}));
        self.send("Page.navigate", json!({"url": url}));
    }

    /// The value of an expression in the page.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until the text of an element, cells set apart by `|`, is as wanted.
    pub fn until(&mut self, id: &str, wanted: impl Fn(&str) -> bool) {
        let cells = format!(
            "(e => !e ? '' : e.rows ? [...e.rows].map(r => [...r.cells].map(c => c.textContent).join('|'))\
             .join('\\n') : e.innerText)(document.getElementById('{id}'))"
        );
        let began = Instant::now();
        loop {
            let text = self.eval(&cells);
            let text = text.as_str().unwrap_or_default();
            if wanted(text) {
                return;
            }
            assert!(began.elapsed() < LONG, "#{id} still says:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an element shows a text.
    pub fn shows(&mut self, id: &str, text: &str) {
        self.until(id, |now| now.contains(text));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
