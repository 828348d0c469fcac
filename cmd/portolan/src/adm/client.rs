// SPDX-License-Identifier: CDDL-1.0
//! HTTP requests, and errors in the words of the server.

use super::{Args, lines_of};
use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    pub fn new(args: &Args) -> Result<Client> {
        let token = args.token_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file);
            text.map(|t| t.trim().to_owned()).with_context(|| file.display().to_string())
        });
        let config = Agent::config_builder().http_status_as_error(false).build();
        let url = args.url.trim_end_matches('/').to_owned();
        Ok(Client { agent: config.into(), url, token: token.transpose()? })
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                let bytes = serde_json::to_vec(body)?;
                let request = self.agent.configure_request(request.body(bytes)?);
                self.agent.run(request.allow_non_standard_methods(true).build())
            }
            None => {
                let request = self.agent.configure_request(request.body(())?);
                self.agent.run(request.allow_non_standard_methods(true).build())
            }
        };
        let answer = answer.with_context(|| format!("cannot reach portolan at {}", self.url))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.into_body().read_to_string().unwrap_or_default();
        let said = serde_json::from_str::<Value>(&text).ok();
        let said = said.as_ref().and_then(|v| v["error"].as_str()).unwrap_or(text.trim());
        Err(match said {
            "" => anyhow!("the server answers {status}"),
            said => anyhow!("{said}"),
        })
    }

    fn json(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Value> {
        let answer = self.send(method, path, body)?;
        let reader = answer.into_body().into_reader();
        serde_json::from_reader(std::io::BufReader::new(reader)).context("the answer is not JSON")
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, None::<&()>)
    }

    pub fn put(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.json(Method::PUT, path, Some(body))
    }

    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.json(Method::POST, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Result<Value> {
        self.json(Method::DELETE, path, None::<&()>)
    }

    pub fn delete_body(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.json(Method::DELETE, path, Some(body))
    }

    /// An answer of lines, as they come.
    pub fn lines(&self, path: &str) -> Result<impl Iterator<Item = Result<String>>> {
        let answer = self.send(Method::GET, path, None::<&()>)?;
        Ok(lines_of(answer.into_body().into_reader()))
    }
}
