//! Who may look, and who may act. A file server must not grow a remote control by accident.

use std::net::IpAddr;

use crate::http::{Method, Request};
use crate::service::Peer;

/// What the guard looks at of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) local: bool,
    /// The request came through a proxy that says so: then the peer's address is the proxy's, not the reader's.
    pub(super) forwarded: bool,
    pub(super) post: bool,
    pub(super) host: Option<&'a [u8]>,
    pub(super) origin: Option<&'a [u8]>,
    pub(super) fetch_site: Option<&'a [u8]>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(request: &Request<'a>, peer: &Peer) -> Self {
        let headers = request.headers;
        Self {
            local: peer.is_local(),
            forwarded: ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
                .iter()
                .any(|name| headers.get(name).is_some()),
            post: request.method == Method::Known("POST"),
            host: headers.get("host"),
            origin: headers.get("origin"),
            fetch_site: headers.get("sec-fetch-site"),
        }
    }

    /// Looking: from this machine, under a name of this machine. The second half defeats DNS rebinding, where a
    /// foreign page makes the browser believe that its own host name is 127.0.0.1.
    pub(super) fn may_look(&self) -> bool {
        self.local && !self.forwarded && self.host.is_some_and(is_loopback_authority)
    }

    /// Acting: POST, by a page that this very server has delivered. Browsers add Sec-Fetch-Site and Origin
    /// themselves and pages cannot forge them (Fetch Metadata; RFC 6454 §7). A client that sends neither has to
    /// name the origin on purpose.
    pub(super) fn may_act(&self) -> bool {
        if !self.may_look() || !self.post {
            return false;
        }
        let same_origin = || {
            // Which of the two this server speaks, it is not told here; nobody else can speak the other on its port.
            let origin = self.origin.and_then(|origin| {
                origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"))
            });
            origin.is_some_and(|origin| Some(origin) == self.host)
        };
        match (self.fetch_site, self.origin) {
            (Some(site), None) => site == b"same-origin",
            (Some(site), Some(_)) => site == b"same-origin" && same_origin(),
            (None, _) => same_origin(),
        }
    }
}

/// Whether a Host value names this machine by a loopback address or `localhost`.
fn is_loopback_authority(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.find(':') {
            Some(at) if host.get(at..).is_some_and(is_port) => host.get(..at).unwrap_or_default(),
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `:` and digits.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Asker<'static> = Asker {
        local: true,
        forwarded: false,
        post: true,
        host: Some(b"127.0.0.1:7890"),
        origin: Some(b"http://127.0.0.1:7890"),
        fetch_site: Some(b"same-origin"),
    };

    #[test]
    fn a_page_of_this_server_may_look_and_act() {
        assert!(READER.may_look() && READER.may_act());
        assert!(Asker { fetch_site: None, ..READER }.may_act());
        assert!(Asker { origin: None, ..READER }.may_act());
        assert!(Asker { origin: Some(b"https://127.0.0.1:7890"), ..READER }.may_act(), "over TLS");
        for host in [&b"localhost:7890"[..], b"LOCALHOST", b"[::1]:80", b"[::1]", b"127.1.2.3"] {
            assert!(Asker { host: Some(host), ..READER }.may_look(), "{}", host.escape_ascii());
        }
    }

    #[test]
    fn nobody_else_may_look() {
        assert!(!Asker { local: false, ..READER }.may_look(), "another machine");
        assert!(!Asker { forwarded: true, ..READER }.may_look(), "behind a proxy");
        for host in [
            &b"evil.example:7890"[..],
            b"127.0.0.1.evil.example",
            b"localhost.evil.example",
            b"[::1].evil",
            b"127.0.0.1:x",
            b"[::1",
            b"",
            b"\xff",
            b"192.168.0.1",
        ] {
            assert!(!Asker { host: Some(host), ..READER }.may_look(), "{}", host.escape_ascii());
        }
        assert!(!Asker { host: None, ..READER }.may_look(), "no Host");
    }

    #[test]
    fn no_other_page_may_act() {
        assert!(!Asker { post: false, ..READER }.may_act(), "a GET, as an image or a link would send");
        assert!(!Asker { fetch_site: Some(b"cross-site"), ..READER }.may_act());
        assert!(!Asker { fetch_site: Some(b"same-site"), ..READER }.may_act(), "another port of localhost");
        assert!(!Asker { fetch_site: Some(b"none"), ..READER }.may_act());
        assert!(!Asker { origin: Some(b"http://evil.example"), ..READER }.may_act());
        assert!(!Asker { origin: Some(b"https://evil.example"), ..READER }.may_act());
        assert!(!Asker { origin: Some(b"null"), ..READER }.may_act());
        assert!(!Asker { origin: Some(b"ftp://127.0.0.1:7890"), ..READER }.may_act());
        assert!(
            !Asker { origin: Some(b"http://localhost:7890"), ..READER }.may_act(),
            "another name is another origin"
        );
        assert!(
            !Asker { origin: None, fetch_site: None, ..READER }.may_act(),
            "says nothing of where it comes from"
        );
    }
}
