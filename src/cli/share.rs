//! Telling people where the server is: addresses for browsers, a QR code, a browser opened.

use std::net::{IpAddr, UdpSocket};

use crate::net::Address;

/// What a browser is to be given. An unspecified address is no destination: this machine is.
pub(super) fn url(address: &Address, tls: bool) -> String {
    match address {
        Address::Ip(address) if address.ip().is_unspecified() => {
            format!("{}://localhost:{}/", scheme(tls), address.port())
        }
        Address::Ip(address) => format!("{}://{address}/", scheme(tls)),
        Address::Unix(_) => address.to_string(),
    }
}

/// What other machines are to be given, for the first address that they can reach.
pub(super) fn network_url(addresses: &[Address], tls: bool) -> Option<String> {
    addresses.iter().find_map(|address| match address {
        Address::Ip(address) if address.ip().is_unspecified() => {
            let address = std::net::SocketAddr::new(network_address(address.ip())?, address.port());
            Some(format!("{}://{address}/", scheme(tls)))
        }
        Address::Ip(address) if !address.ip().is_loopback() => Some(format!("{}://{address}/", scheme(tls))),
        _ => None,
    })
}

const fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// The address from which this machine would speak to the world: the kernel chooses it when a datagram socket is
/// connected, and nothing is sent for that (udp(7)). The destinations are reserved for documentation (RFC 5737, 3849).
fn network_address(bound: IpAddr) -> Option<IpAddr> {
    let reach = |from: &str, to: &str| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
    };
    let v4 = || reach("0.0.0.0", "192.0.2.1");
    if bound.is_ipv4() { v4() } else { v4().or_else(|| reach("::", "2001:db8::1")) }
}

/// The address as a QR code of half blocks, dark on light whatever the terminal's colours.
pub(super) fn qr_code(url: &str) -> Result<String, qrcode::types::QrError> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::new(url)?;
    let drawn = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    // Black on white, said in colours: terminals are dark or light as people like.
    Ok(drawn.lines().map(|line| format!("\x1b[97;40m{line}\x1b[0m\n")).collect())
}

/// Opens a browser, or says why not: serving goes on either way.
pub(super) fn open_browser(url: &str) {
    if let Err(error) = open::that_detached(url) {
        log::warn!("cannot open a browser: {error}; open {url} yourself");
    }
}
