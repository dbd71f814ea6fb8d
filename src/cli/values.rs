//! What flags take: addresses, sizes, times. Each error is one sentence that says what is expected.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::idle::parse_duration;
use crate::net::Address;

/// A place to listen, as `--bind` takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bind {
    /// An IP address, and a port if it has its own.
    Ip(IpAddr, Option<u16>),
    /// A Unix socket, and the permissions of its file.
    Unix(PathBuf, Option<u32>),
}

impl Bind {
    /// The address, with this port where it has none of its own.
    pub(super) fn address(&self, port: u16) -> Address {
        match self {
            Self::Ip(ip, own) => Address::Ip(SocketAddr::new(*ip, own.unwrap_or(port))),
            Self::Unix(path, _) => Address::Unix(path.clone()),
        }
    }

    pub(super) const fn mode(&self) -> Option<u32> {
        match self {
            Self::Ip(..) => None,
            Self::Unix(_, mode) => *mode,
        }
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let (path, mode) = match rest.rsplit_once(",mode=") {
                Some((path, mode)) => (path, Some(parse_mode(mode)?)),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err("say which file, like unix:/run/site.sock".to_owned());
            }
            return Ok(Self::Unix(path.into(), mode));
        }
        // [::1] without a port is an address as well.
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Ok(Self::Ip(ip, None));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) => Ok(Self::Ip(address.ip(), Some(address.port()))),
            Err(_) => Err(
                "expected an IP address like 0.0.0.0 or ::1, with a port like 127.0.0.1:8080 or [::1]:8080, or \
                 unix:PATH[,mode=0660]"
                    .to_owned(),
            ),
        }
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("{text:?} is not a mode: expected octal permissions like 0660"))
}

/// Octets: a number, with k, M or G (or KiB, MiB, GiB) for powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size: expected bytes, or a number with k, M or G, like 16k");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(expected()),
    };
    number
        .checked_mul(1 << shift)
        .filter(|size| *size <= i64::MAX as u64)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// A size that something must fit into.
pub(super) fn parse_room(text: &str) -> Result<u64, String> {
    match parse_size(text)? {
        0 => Err("it must be more than nothing".to_owned()),
        size => Ok(size),
    }
}

/// A time limit. No time at all would leave nobody in.
pub(super) fn parse_limit(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("it must be more than no time at all".to_owned()),
        time => Ok(time),
    }
}

/// `ext=type/subtype`.
pub(super) fn parse_mime(text: &str) -> Result<(String, String), String> {
    let (extension, kind) =
        text.split_once('=').ok_or("expected ext=type/subtype, like wasm=application/wasm")?;
    Ok((extension.to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_notation() {
        let ip = |text: &str, port| Ok(Bind::Ip(text.parse().unwrap(), port));
        for (text, expected) in [
            ("0.0.0.0", ip("0.0.0.0", None)),
            ("::", ip("::", None)),
            ("[::1]", ip("::1", None)),
            ("127.0.0.1:80", ip("127.0.0.1", Some(80))),
            ("[::1]:8080", ip("::1", Some(8080))),
            ("unix:/run/a.sock", Ok(Bind::Unix("/run/a.sock".into(), None))),
            ("unix:a,b", Ok(Bind::Unix("a,b".into(), None))),
            ("unix:/run/a,mode=0660", Ok(Bind::Unix("/run/a".into(), Some(0o660)))),
            ("unix:/run/a,mode=600", Ok(Bind::Unix("/run/a".into(), Some(0o600)))),
        ] {
            assert_eq!(text.parse::<Bind>(), expected, "{text}");
        }
        for text in ["", "nowhere", "localhost", "1.2.3", "127.0.0.1:", "127.0.0.1:99999", "unix:", "[::1"] {
            assert!(text.parse::<Bind>().is_err(), "{text:?}");
        }
        for text in ["unix:/a,mode=", "unix:/a,mode=9", "unix:/a,mode=7777", "unix:,mode=0600"] {
            assert!(text.parse::<Bind>().is_err(), "{text:?}");
        }
        let own: Bind = "127.0.0.1:80".parse().unwrap();
        assert_eq!(own.address(7890), Address::Ip("127.0.0.1:80".parse().unwrap()));
        let none: Bind = "::1".parse().unwrap();
        assert_eq!(none.address(7890), Address::Ip("[::1]:7890".parse().unwrap()));
    }

    #[test]
    fn sizes() {
        for (text, size) in
            [("0", 0), ("1", 1), ("16k", 16384), ("16KiB", 16384), ("1M", 1 << 20), ("2G", 2 << 30)]
        {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "k", "-1", "1.5M", "16 k", "1T", "99999999999G", "99999999999999999999"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        assert!(parse_room("0").is_err() && parse_limit("0s").is_err());
    }
}
