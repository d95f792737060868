//! What a request may do. Over a unix socket the file's mode has decided already; over TCP a bearer token (RFC 6750)
//! decides where tokens are configured, and loopback alone is trusted where none are.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use super::server::Peer;
use crate::config::plan::{Scope, Scopes, Token};

/// The tokens in force, replaced by a reload. `None`: no token is needed.
pub(crate) type Tokens = Arc<ArcSwap<Option<Arc<[Token]>>>>;

/// Guards routes that need one scope.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) tokens: Tokens,
    pub(super) scope: Scope,
}

/// Who was let in, as overrides record it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller(pub(super) String);

/// Lets a request through, or says why not: 401 without a token that is known, 403 with one that may not.
pub(super) async fn authorize(
    State(guard): State<Guard>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let (who, scopes) = match &**guard.tokens.load() {
        Some(tokens) if matches!(peer, Peer::Address(_)) => match granted(tokens, request.headers()) {
            Some(token) => (token.name.clone(), token.scopes),
            None => return unauthorized(),
        },
        // A reload may take the tokens away; a listener that is open to others stays so until a restart.
        None if peer.is_elsewhere() => return unauthorized(),
        _ => (peer.who(), Scopes::ALL),
    };
    if !scopes.has(guard.scope) {
        return forbidden(guard.scope);
    }
    request.extensions_mut().insert(Caller(who));
    let mut response = next.run(request).await;
    // So that the dashboard offers what may be done, and no more.
    let may = match (scopes.has(Scope::Read), scopes.has(Scope::Write)) {
        (_, true) => "read write",
        (true, false) => "read",
        (false, false) => "",
    };
    response.headers_mut().insert("rollcall-scopes", HeaderValue::from_static(may));
    response
}

/// The token that was sent. Every token is compared, each in constant time, so that timing tells nothing but lengths.
fn granted<'t>(tokens: &'t [Token], headers: &HeaderMap) -> Option<&'t Token> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let secret = secret.trim_start_matches(' ').as_bytes();
    let mut found = None;
    for token in tokens {
        if bool::from(token.secret.as_bytes().ct_eq(secret)) {
            found = Some(token);
        }
    }
    found
}

fn unauthorized() -> Response {
    let message = "a token is needed: send `Authorization: Bearer …`".to_owned();
    challenge(StatusCode::UNAUTHORIZED, message, "Bearer realm=\"rollcall\"")
}

fn forbidden(scope: Scope) -> Response {
    let (word, value) = match scope {
        Scope::Read => ("read", "Bearer realm=\"rollcall\", error=\"insufficient_scope\", scope=\"read\""),
        Scope::Write => ("write", "Bearer realm=\"rollcall\", error=\"insufficient_scope\", scope=\"write\""),
        Scope::Push => ("push", "Bearer realm=\"rollcall\", error=\"insufficient_scope\", scope=\"push\""),
    };
    challenge(StatusCode::FORBIDDEN, format!("this token lacks the scope \"{word}\""), value)
}

fn challenge(status: StatusCode, message: String, value: &'static str) -> Response {
    let mut response = ApiError(status, message).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<Token> {
        let token = |name: &str, secret: &str, scope| {
            let mut scopes = Scopes::default();
            scopes.add(scope);
            Token { name: name.to_owned(), secret: secret.to_owned(), scopes }
        };
        vec![token("grafana", "aaaaaaaaaaaaaaaaaaaa", Scope::Read), token("ops", "bbbbbbbbbbbbbbbbbbbb", Scope::Write)]
    }

    fn sent(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        granted(&tokens(), &headers).map(|token| token.name.clone())
    }

    #[test]
    fn a_token_is_known_by_its_whole_secret_alone() {
        assert_eq!(sent(&["Bearer aaaaaaaaaaaaaaaaaaaa"]).as_deref(), Some("grafana"));
        assert_eq!(sent(&["bearer  bbbbbbbbbbbbbbbbbbbb"]).as_deref(), Some("ops"));
        for wrong in
            ["Bearer aaaaaaaaaaaaaaaaaaa", "Bearer aaaaaaaaaaaaaaaaaaaaa", "Basic aaaaaaaaaaaaaaaaaaaa", "Bearer", ""]
        {
            assert_eq!(sent(&[wrong]), None, "{wrong}");
        }
        assert_eq!(sent(&["Bearer aaaaaaaaaaaaaaaaaaaa", "Bearer bbbbbbbbbbbbbbbbbbbb"]), None);
        assert_eq!(sent(&[]), None);
    }

    #[test]
    fn without_tokens_this_machine_alone_is_trusted() {
        let elsewhere = |address: &str| Peer::Address(address.parse().unwrap()).is_elsewhere();
        for here in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!elsewhere(here), "{here}");
        }
        for there in ["192.0.2.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert!(elsewhere(there), "{there}");
        }
        assert!(!Peer::User(None).is_elsewhere());
    }

    #[test]
    fn write_includes_read_and_nothing_includes_push() {
        let mut scopes = Scopes::default();
        scopes.add(Scope::Write);
        assert!(scopes.has(Scope::Read) && scopes.has(Scope::Write) && !scopes.has(Scope::Push));
        assert!(!format!("{:?}", tokens()).contains("aaaa"), "a secret is never printed");
    }
}
