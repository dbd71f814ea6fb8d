//! HTTPS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{MODELS, Started, ask, folder, text};
use crate::common::pattern;

/// A certificate on disk that can be exchanged.
struct Certificate {
    folder: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let mut this = Self { folder: tempfile::tempdir().unwrap(), der: Vec::new().into() };
        this.exchange();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a new one in place of the old.
    fn exchange(&mut self) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(self.path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        self.der = made.cert.der().clone();
    }

    fn serve(&self, root: &tempfile::TempDir, flags: &[&str]) -> Started {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        let tls = ["-p", "0", "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        Started::new(root.path(), &[&tls, flags].concat())
    }

    /// A client that trusts this certificate and no other.
    fn connect(&self, server: &Started) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = server.connect();
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(session, socket))
    }
}

#[test]
fn pages_large_files_and_kept_connections_over_tls() {
    let (folder, certificate) = (folder(), Certificate::new());
    for model in MODELS {
        let server = certificate.serve(&folder, &[&["-q"], model].concat());
        assert!(server.banner.contains(" on https://127.0.0.1:"), "{}", server.banner);
        let mut client = certificate.connect(&server).unwrap();
        assert_eq!(client.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        // Pipelined, the last one ends it; the end is announced by close_notify, or this would be an error.
        client.write_all("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2).as_bytes()).unwrap();
        let page = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        client.write_all(page.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).unwrap();
        let answers = crate::common::answers(&bytes, &["GET"; 3]);
        assert!(answers[0].body == pattern(3_000_000) && answers[1].body == pattern(3_000_000), "{model:?}");
        assert!(text(&answers[2].body).contains("index"));
        let (status, _, report) = server.stop();
        assert_eq!(status, Some(0));
        assert!(report.contains("requests   3 "), "{model:?}: {report}");
    }
}

#[test]
fn a_slow_reader_over_tls_gets_everything_and_holds_nobody_up() {
    let (folder, certificate) = (folder(), Certificate::new());
    let server = certificate.serve(&folder, &["-q", "--idle", "park"]);
    let mut slow = certificate.connect(&server).unwrap();
    socket2::SockRef::from(&slow.sock).set_recv_buffer_size(8 * 1024).unwrap();
    slow.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = vec![0; 1000];
    slow.read_exact(&mut bytes).unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
    }
    slow.read_to_end(&mut bytes).unwrap();
    assert!(crate::common::answers(&bytes, &["GET"])[0].body == pattern(3_000_000));
}

#[test]
fn certificates_are_read_again_on_sighup_and_bad_ones_are_not_taken() {
    let (folder, mut certificate) = (folder(), Certificate::new());
    let mut server = certificate.serve(&folder, &["-q", "-v", "--idle", "park"]);
    let mut kept = certificate.connect(&server).unwrap();
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    kept.write_all(get).unwrap();
    kept.read_exact(&mut [0; 15]).unwrap();

    let old = certificate.der.clone();
    certificate.exchange();
    assert!(certificate.connect(&server).is_err(), "not before it is told");
    server.signal(Signal::SIGHUP);
    server.wait_for_line("the certificates were read again");
    assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
    kept.write_all(get).unwrap();
    kept.read_exact(&mut [0; 15]).unwrap(); // a connection keeps what it began with

    std::fs::write(certificate.path("cert.pem"), "rubbish").unwrap();
    server.signal(Signal::SIGHUP);
    let line = server.wait_for_line("ERROR");
    assert!(line.contains("cert.pem") && line.contains("the old certificates stay in use"), "{line}");
    assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
    assert!(old != certificate.der);
}

#[test]
fn a_handshake_has_the_header_timeout_even_if_octets_dribble_in() {
    let (folder, certificate) = (folder(), Certificate::new());
    for model in MODELS {
        for dribble in [false, true] {
            let flags = [&["-q", "-v", "--header-timeout", "600ms"], model].concat();
            let mut server = certificate.serve(&folder, &flags);
            let mut socket = server.connect();
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            // The beginning of a record of 500 octets that never ends.
            socket.write_all(&[22, 3, 1, 1, 244, 1, 0, 1, 240, 3, 3]).unwrap();
            let mut closed = false;
            for _ in 0..400 {
                if dribble {
                    let _ = socket.write_all(&[7]);
                }
                match socket.read(&mut [0; 100]) {
                    Ok(0) => closed = true,
                    Ok(_) => {}
                    Err(error) => closed |= error.kind() == std::io::ErrorKind::ConnectionReset,
                }
                if closed {
                    break;
                }
            }
            assert!(closed, "{model:?}, dribbling {dribble}: still open after eight seconds");
            server.wait_for_line("handshake failed");
        }
    }
}

#[test]
fn plain_http_to_the_tls_port_is_told_so() {
    let (folder, certificate) = (folder(), Certificate::new());
    for model in MODELS {
        let server = certificate.serve(&folder, &[&["-q"], model].concat());
        let answer = server.get("/", "");
        assert_eq!(answer.status, 400);
        assert!(text(&answer.body).contains("https://"));
        // And those who do it right are served on.
        assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
    }
}

#[test]
fn rubbish_and_broken_off_handshakes_hurt_nobody() {
    let (folder, certificate) = (folder(), Certificate::new());
    let server = certificate.serve(&folder, &["-q"]);
    for rubbish in
        [&b"\x16\x03\x01\xff\xff"[..], b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02", &[0; 300], b""]
    {
        let mut socket = server.connect();
        socket.write_all(rubbish).unwrap();
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn curl_and_openssl_agree() {
    let (folder, certificate) = (folder(), Certificate::new());
    let server = certificate.serve(&folder, &["-q"]);
    let cert = certificate.path("cert.pem");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert", cert.to_str().unwrap()])
            .args(version)
            .arg(format!("https://localhost:{}/large.bin", server.port()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{version:?}: {}", text(&output.stderr));
        assert!(output.stdout == pattern(3_000_000), "{version:?}");
    }
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{}", server.port()), "-servername", "localhost"])
        .args(["-alpn", "http/1.1", "-verify_return_error", "-CAfile", cert.to_str().unwrap(), "-ign_eof"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let output = openssl.wait_with_output().unwrap();
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for expected in ["ALPN protocol: http/1.1", "Verify return code: 0 (ok)", "HTTP/1.1 200 OK", "index"] {
        assert!(stdout.contains(expected), "no {expected} in {stdout}");
    }
}

#[test]
fn a_unix_socket_beside_tls_stays_plain() {
    let (folder, certificate) = (folder(), Certificate::new());
    let path = folder.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let server = certificate.serve(&folder, &["-q", "-b", "127.0.0.1", "-b", &unix]);
    assert_eq!(ask(&mut std::os::unix::net::UnixStream::connect(&path).unwrap(), "/", "").status, 200);
    assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "/", "").status, 200);
}

#[test]
fn an_https_resource_is_not_given_away_in_the_clear() {
    let folder = folder();
    let path = folder.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let plain = Started::new(folder.path(), &["-q", "-p", "0", "-b", "127.0.0.1", "-b", &unix]);
    let mut socket = plain.connect();
    for (target, status) in
        [("https://x/", 421), ("HTTPS://x/", 421), ("http://x/", 200), ("/https://x/", 404)]
    {
        write!(socket, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let n = socket.read(&mut answer).unwrap();
        assert!(
            text(&answer[..n]).starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: the connection is kept"
        );
    }
    let mut proxy = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert_eq!(ask(&mut proxy, "https://x/", "").status, 200);
    let certificate = Certificate::new();
    let server = certificate.serve(&folder, &["-q"]);
    assert_eq!(ask(&mut certificate.connect(&server).unwrap(), "https://x/", "").status, 200);
}
