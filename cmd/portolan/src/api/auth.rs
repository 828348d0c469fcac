// SPDX-License-Identifier: CDDL-1.0
//! Who may use the API.

use super::{Api, Problem};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub async fn check(State(api): State<Api>, request: Request, next: Next) -> Response {
    match allowed(api.token.as_deref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn allowed(token: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match token {
        Some(token) => {
            let shown = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
            match same(shown.as_bytes(), token.as_bytes()) {
                true => Ok(()),
                false => {
                    let why = "this server wants its token: Authorization: Bearer TOKEN";
                    Err(Problem::new(StatusCode::UNAUTHORIZED, why))
                }
            }
        }
        // A site whose name is made to lead here (DNS rebinding) is found by its name.
        None if is_this_machine(text(header::HOST)) => Ok(()),
        None => {
            let why = "without a token only localhost may be asked, under that name";
            Err(Problem::new(StatusCode::FORBIDDEN, why))
        }
    }
}

/// Compares in a time that tells nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |d, (a, b)| d | (a ^ b));
    a.len() == b.len() && differ == 0
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || ip.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(token: Option<&str>, name: header::HeaderName, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        allowed(token, &headers).is_ok()
    }

    #[test]
    fn without_a_token_only_this_machine_by_its_names() {
        for host in
            ["localhost", "localhost:1297", "127.0.0.1:1297", "127.9.9.9", "[::1]:1297", "[::1]"]
        {
            assert!(ask(None, header::HOST, host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:1297",
            "localhost.evil.example",
            "192.0.2.1:1297",
            "[::2]",
        ] {
            assert!(!ask(None, header::HOST, host), "{host}");
        }
    }

    #[test]
    fn with_a_token_only_the_token() {
        assert!(ask(Some("secret"), header::AUTHORIZATION, "Bearer secret"));
        for shown in ["", "secret", "Bearer ", "Bearer secre", "Bearer secret2", "Basic secret"] {
            assert!(!ask(Some("secret"), header::AUTHORIZATION, shown), "{shown}");
        }
        assert!(!ask(Some("secret"), header::HOST, "localhost"));
    }
}
