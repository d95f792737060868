//! Who may ask. A loopback listener trusts its machine, but not every page that a browser on it shows: a request whose
//! `Host` or `Origin` is foreign came from such a page (DNS rebinding, cross-site requests) and is refused.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Uri, Version, header};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400: RFC 9112 3.2, exactly one Host.
    BadHost,
    /// 403.
    ForeignHost(String),
    /// 403.
    ForeignOrigin(String),
}

/// Checks `Host` (or the authority of an absolute request target) and `Origin`.
///
/// An allowed host is `localhost`, a loopback address, or the listening address; its port is not looked at, so that a
/// forwarded port works. `Origin`, when there is one, must be the very place that the request went to.
/// With `any_host` the host is not looked at, only that the origin is the same.
pub(super) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    own: Option<SocketAddr>,
    any_host: bool,
) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.to_str().map_err(|_| Refusal::BadHost)?),
        // A program's request, never a browser's.
        (None, _) if version == Version::HTTP_10 => None,
        _ => return Err(Refusal::BadHost),
    };
    // RFC 9112 3.2.2: in an absolute-form target the authority counts, not Host.
    let asked = uri.authority().map(|authority| authority.as_str()).or(host);
    for place in [asked, host].into_iter().flatten() {
        if !any_host && !is_own(place, own) {
            return Err(Refusal::ForeignHost(place.to_string()));
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let same = place.zip(asked).is_some_and(|(place, asked)| place.eq_ignore_ascii_case(asked));
        if !same {
            return Err(Refusal::ForeignOrigin(origin.to_string()));
        }
    }
    Ok(())
}

fn is_own(place: &str, own: Option<SocketAddr>) -> bool {
    let Some(host) = without_port(place) else {
        return false;
    };
    if host.eq_ignore_ascii_case("localhost") || host.eq_ignore_ascii_case("localhost.") {
        return true;
    }
    let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    };
    address.is_some_and(|address| address.is_loopback() || own.is_some_and(|own| own.ip() == address))
}

fn without_port(place: &str) -> Option<&str> {
    let end_of_host = place.rfind(']').map_or(0, |end| end + 1);
    match place[end_of_host..].find(':') {
        None => Some(place),
        Some(colon) => {
            let (host, port) = place.split_at(end_of_host + colon);
            port[1..].parse::<u16>().ok().map(|_| host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .fold(HeaderMap::new(), |mut all, (name, value): (_, header::HeaderValue)| {
                all.append(name, value);
                all
            });
        check(Version::HTTP_11, &uri.parse().unwrap(), &headers, Some("127.0.0.1:8053".parse().unwrap()), false)
    }

    #[test]
    fn own_hosts_pass_and_foreign_ones_do_not() {
        for host in ["localhost", "LOCALHOST:8053", "127.0.0.1:8053", "127.9.9.9", "[::1]", "[::1]:8053"] {
            assert_eq!(ask("/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8053",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.0.2.1",
            "[2001:db8::1]:8053",
            "user@localhost",
            "",
            "127.0.0.1:x",
        ] {
            assert_eq!(ask("/", &[("host", host)]), Err(Refusal::ForeignHost(host.to_string())), "{host}");
        }
    }

    #[test]
    fn exactly_one_host_is_wanted() {
        assert_eq!(ask("/", &[]), Err(Refusal::BadHost));
        assert_eq!(ask("/", &[("host", "localhost"), ("host", "localhost")]), Err(Refusal::BadHost));
        assert_eq!(check(Version::HTTP_10, &"/".parse().unwrap(), &HeaderMap::new(), None, false), Ok(()));
    }

    #[test]
    fn the_authority_of_an_absolute_target_is_checked() {
        let foreign = Err(Refusal::ForeignHost("evil.example".to_string()));
        assert_eq!(ask("http://evil.example/v1/status", &[("host", "localhost")]), foreign);
        assert_eq!(ask("http://localhost/v1/status", &[("host", "evil.example")]), foreign);
        assert_eq!(ask("http://localhost/v1/status", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn behind_tokens_any_host_is_own_but_no_foreign_origin() {
        let ask = |headers: &[(header::HeaderName, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            check(Version::HTTP_11, &"/".parse().unwrap(), &headers, None, true)
        };
        assert_eq!(ask(&[(header::HOST, "ns1.example.net:8053")]), Ok(()));
        let foreign = [(header::HOST, "ns1.example.net"), (header::ORIGIN, "http://evil.example")];
        assert_eq!(ask(&foreign), Err(Refusal::ForeignOrigin("http://evil.example".to_string())));
    }

    #[test]
    fn an_origin_must_be_the_place_itself() {
        let host = ("host", "127.0.0.1:8053");
        assert_eq!(ask("/", &[host, ("origin", "http://127.0.0.1:8053")]), Ok(()));
        for origin in
            ["http://evil.example", "null", "http://127.0.0.1:3000", "http://localhost:8053", "ftp://127.0.0.1:8053"]
        {
            assert_eq!(
                ask("/", &[host, ("origin", origin)]),
                Err(Refusal::ForeignOrigin(origin.to_string())),
                "{origin}"
            );
        }
    }
}
