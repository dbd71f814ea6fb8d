//! Which server is meant, and whether it may be tested.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use super::CannotRun;

/// A parsed URL and its addresses, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `localhost` may be both ::1 and 127.0.0.1 while the server listens on one of them.
    pub(super) addrs: Vec<SocketAddr>,
    /// As it goes into the Host field.
    pub(super) host: String,
    /// Path and query, as they go into a request line.
    pub(super) path: String,
}

impl Target {
    /// Parses `http://host[:port][/path]` and looks the host up.
    ///
    /// # Errors
    ///
    /// [`CannotRun`] for another scheme, an unknown host, and for addresses that are not loopback unless `own`.
    pub(super) fn parse(url: &str, own: bool) -> Result<Self, CannotRun> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(CannotRun::new(
                    format!("{scheme} 不行：检查器只说明文 HTTP，请给 http:// 地址"),
                    format!("{scheme} will not do: the checker speaks plain HTTP; give an http:// address"),
                ));
            }
            None => url,
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // A query may follow the host at once: the path before it is the root.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let bad = || {
            CannotRun::new(
                format!("看不懂地址「{url}」：应写作 http://主机[:端口][/路径]"),
                format!("cannot read the address \"{url}\": write http://host[:port][/path]"),
            )
        };
        let grammatical = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        if host.is_empty() || !host.bytes().all(grammatical) || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad());
        }
        let after_bracket = host.rsplit(']').next().unwrap_or(host);
        let lookup = if after_bracket.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let addrs: Vec<SocketAddr> = match lookup.to_socket_addrs() {
            Ok(addrs) => addrs.collect(),
            Err(e) if e.kind() == ErrorKind::InvalidInput => return Err(bad()),
            Err(e) => {
                return Err(CannotRun::new(
                    format!("查不到主机 {host}：{e}；名字对吗？"),
                    format!("cannot look up {host}: {e}; is the name right?"),
                ));
            }
        };
        // 0.0.0.0 is what servers print that listen everywhere; whoever connects to it reaches this machine.
        let here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        let allowed = own || addrs.iter().all(|a| here(a.ip().to_canonical()));
        if !allowed {
            return Err(CannotRun::new(
                format!(
                    "{host} 不在本机：检查会发送恶意请求、建立几百个连接；若这是你自己的服务器，加 --i-own-this-server"
                ),
                format!(
                    "{host} is not this machine: the check sends hostile requests and opens hundreds of connections; if \
it is your own server, add --i-own-this-server"
                ),
            ));
        }
        if addrs.is_empty() {
            return Err(bad());
        }
        Ok(Self { addrs, host: host.to_owned(), path })
    }

    /// The folder of the path, with its slash: what `--root` is served as.
    pub(super) fn folder(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.rfind('/').map_or("/", |at| &path[..=at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_into_host_and_path() {
        let target = Target::parse("http://127.0.0.1:9/a/b.html?x=/1#y", false).expect("parsed");
        assert_eq!((target.addrs[0].port(), target.host.as_str()), (9, "127.0.0.1:9"));
        assert_eq!((target.path.as_str(), target.folder()), ("/a/b.html?x=/1", "/a/"));
        assert_eq!(Target::parse("127.0.0.1?x", false).expect("parsed").path, "/?x");
        assert_eq!(Target::parse("127.0.0.1", false).expect("parsed").addrs[0].port(), 80);
        assert_eq!(Target::parse("http://[::1]:9", false).expect("parsed").path, "/");
        assert!(Target::parse("http://0.0.0.0:9/", false).is_ok());
        assert!(Target::parse("http://[::ffff:127.0.0.1]:9/", false).is_ok());
    }

    #[test]
    fn strangers_and_other_schemes_are_refused() {
        assert!(Target::parse("http://192.0.2.1/", false).is_err());
        assert!(Target::parse("http://[::ffff:192.0.2.1]/", false).is_err());
        assert!(Target::parse("http://192.0.2.1/", true).is_ok());
        assert!(Target::parse("https://127.0.0.1/", false).is_err());
        assert!(Target::parse("http:///", false).is_err());
        assert!(Target::parse("http://a b/", false).is_err());
    }
}
