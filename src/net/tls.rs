//! TLS over a socket of ours, driven by the same nonblocking turn as every other transport.
//!
//! What lives here: certificates, and a [`Transport`] that keeps rustls' buffers and the kernel's apart. What must
//! not: HTTP. (One answer is excepted, the one for those who speak plain HTTP to this port.)
//!
//! Two rules make it fit where a plain socket fits:
//! - A read is at most one read of the socket, and first sends what the handshake still owes the peer.
//! - A write has succeeded when its *ciphertext* is with the kernel. Until then it "would have blocked", and whoever
//!   tries again with the same octets is told of the success of the first attempt. So a connection that has nothing
//!   to send has nothing in rustls' buffers either, and may be closed.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::{RecvFlags, recv};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::stream::{Stream, Transport};

/// The only protocol spoken here, as ALPN names it (RFC 7301 §6).
const ALPN: &[u8] = b"http/1.1";

/// What a person sees who typed `http://` where `https://` was needed. The text goes out unencrypted.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS: use https:// to reach it.\n";

/// Octets of such a request that are read and discarded, so that closing does not destroy the answer.
const DISCARD: usize = 64 * 1024;

/// Certificates that cannot be used, and why.
#[derive(Debug)]
pub struct TlsError {
    path: PathBuf,
    what: &'static str,
    why: String,
}

impl std::fmt::Display for TlsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot use {} as {}: {}", self.path.display(), self.what, self.why)
    }
}

impl std::error::Error for TlsError {}

/// A certificate chain with its key, and where they came from.
#[derive(Debug)]
pub struct Tls {
    certificates: PathBuf,
    key: PathBuf,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads a certificate chain (the server's own first) and its private key, both PEM.
    ///
    /// # Errors
    /// A file cannot be read, holds no PEM of that kind, or the key is not the certificate's.
    pub fn load(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = Arc::new(configure(certificates, key)?);
        Ok(Self { certificates: certificates.into(), key: key.into(), config })
    }

    /// Reads the files again, for connections accepted from now on. If they cannot be used, the old ones stay.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn reload(&mut self) -> Result<(), TlsError> {
        self.config = Arc::new(configure(&self.certificates, &self.key)?);
        Ok(())
    }

    /// The server's end of a connection whose handshake is yet to come.
    ///
    /// # Errors
    /// The configuration does not allow it; never for one that was loaded.
    pub fn accept(&self, socket: Stream) -> io::Result<TlsStream> {
        let session = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        Ok(TlsStream { socket, session, owed: 0, unheard: false, greeted: false })
    }
}

fn configure(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let (chain, private) = (("a certificate (--tls-cert)", certificates), ("a private key (--tls-key)", key));
    let fail = |(what, path): (&'static str, &Path), why: String| TlsError { path: path.into(), what, why };
    let explain = |error: rustls::pki_types::pem::Error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => "there is no such PEM section in it".to_owned(),
        rustls::pki_types::pem::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    let certificates = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fail(chain, explain(error)))?;
    if certificates.is_empty() {
        return Err(fail(chain, "there is no such PEM section in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(private, explain(error)))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => fail(private, "it is not the certificate's key".to_owned()),
            error => fail(chain, error.to_string()),
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// TLS over a TCP socket.
#[derive(Debug)]
pub struct TlsStream {
    socket: Stream,
    session: ServerConnection,
    /// Octets of the caller's that are encrypted but not all with the kernel: reported once they are.
    owed: usize,
    /// A read may bring something even though the kernel has nothing new to report.
    unheard: bool,
    /// The peer's first octet was looked at.
    greeted: bool,
}

impl TlsStream {
    /// The socket beneath.
    pub(super) const fn socket(&self) -> &Stream {
        &self.socket
    }

    /// Sends ciphertext until there is none (`true`) or the socket would block (`false`).
    fn send_ciphertext(&mut self) -> io::Result<bool> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Hands on what is decrypted. `None`: nothing is.
    fn take_plaintext(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let result = match self.session.reader().read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // The peer left without close_notify. Requests carry their own length, so nothing can be cut off
            // unnoticed: an end is an end. A handshake, though, was broken off.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !self.session.is_handshaking() => {
                Ok(Some(0))
            }
            result => result.map(Some),
        };
        let left = self.session.process_new_packets().map_or(0, |state| state.plaintext_bytes_to_read());
        self.unheard = left > 0;
        result
    }

    /// Looks at the first octet before rustls does: a TLS record begins with its type, 20 to 24, and an HTTP
    /// request with a letter.
    fn greet(&mut self) -> io::Result<()> {
        let mut first = [0];
        let (n, _) = recv(&self.socket, &mut first, RecvFlags::PEEK)?;
        self.greeted = n > 0;
        if n > 0 && first[0].is_ascii_alphabetic() {
            self.answer_in_plain()?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP to a TLS port"));
        }
        Ok(())
    }

    /// A whole answer, as far as the socket takes it at once, which for a fresh one is all of it.
    fn answer_in_plain(&mut self) -> io::Result<()> {
        let _ = self.socket.write(SPEAKS_TLS)?;
        self.socket.shut_down_write()?;
        self.discard();
        Ok(())
    }

    /// Reads what is there and drops it: octets left unread turn a close into a reset, which can overtake the
    /// last thing that was said.
    fn discard(&mut self) {
        let mut buf = [0; 4096];
        for _ in 0..DISCARD / buf.len() {
            if !recv(&self.socket, &mut buf, RecvFlags::DONTWAIT).is_ok_and(|(n, _)| n > 0) {
                break;
            }
        }
    }

    /// An end without an error, where there never was a beginning: a spare connection that a browser gave up.
    fn left_unused(&self, n: usize) -> bool {
        n == 0 && !self.greeted
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for TlsStream {
    /// At most one read of the socket. [`io::ErrorKind::Interrupted`]: something came, but no plaintext yet.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.unheard = false;
        if !self.send_ciphertext()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Some(n) = self.take_plaintext(buf)? {
            return Ok(n);
        }
        if !self.greeted {
            self.greet()?;
        }
        let n = self.session.read_tls(&mut self.socket)?;
        if self.left_unused(n) {
            return Ok(0);
        }
        if let Err(error) = self.session.process_new_packets() {
            // rustls has an alert ready that says what is wrong; let it arrive.
            let _ = self.send_ciphertext();
            let _ = self.socket.shut_down_write();
            self.discard();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        self.send_ciphertext()?;
        match self.take_plaintext(buf)? {
            Some(n) => Ok(n),
            None => {
                self.unheard = true; // the socket was not read until it would block
                Err(io::ErrorKind::Interrupted.into())
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    /// Encrypts as much as rustls keeps at once (64 KiB) and sends it; see the rules at the top of the file.
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.send_ciphertext()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.owed > 0 {
            return Ok(std::mem::take(&mut self.owed));
        }
        let n = self.session.writer().write_vectored(bufs)?;
        if self.send_ciphertext()? {
            return Ok(n);
        }
        self.owed = n;
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for TlsStream {
    fn shut_down_write(&mut self) -> io::Result<()> {
        if !self.session.is_handshaking() {
            self.session.send_close_notify(); // once: rustls ignores the second
        }
        if !self.send_ciphertext()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.socket.shut_down_write()
    }

    fn finish(&mut self) {
        if !self.session.is_handshaking() && self.owed == 0 {
            self.session.send_close_notify();
            let _ = self.send_ciphertext();
        }
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn has_output(&self) -> bool {
        self.session.wants_write()
    }

    fn has_input(&self) -> bool {
        self.unheard
    }

    fn acknowledged(&self) -> Option<u64> {
        self.socket.acknowledged()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// A certificate for localhost and so many other names, its key, and a client that trusts it.
    fn certificate(names: usize) -> (tempfile::TempDir, Tls, ClientConnection) {
        let names = std::iter::once("localhost".to_owned())
            .chain((1..names).map(|n| format!("{n:060}.example")))
            .collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        (dir, Tls::load(&cert, &key).unwrap(), client)
    }

    /// Both ends of a socket that takes only a few kilobytes at once.
    fn narrow_pair() -> (Stream, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&here).set_send_buffer_size(4096).unwrap();
        here.set_nonblocking(true).unwrap();
        there.set_nonblocking(true).unwrap();
        (Stream::Unix(here), there)
    }

    fn would_block<T: std::fmt::Debug>(result: io::Result<T>) {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    /// The client's side until its socket would block.
    fn pump(client: &mut ClientConnection, socket: &mut UnixStream) {
        loop {
            let mut moved = false;
            while client.wants_write() && client.write_tls(socket).is_ok() {
                moved = true;
            }
            if client.read_tls(socket).is_ok_and(|n| n > 0) {
                client.process_new_packets().unwrap();
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn shake_hands(server: &mut TlsStream, client: &mut ClientConnection, socket: &mut UnixStream) {
        for _ in 0..1000 {
            pump(client, socket);
            let error = server.read(&mut [0; 64]).unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
                "{error}"
            );
            if !server.is_handshaking() && !client.is_handshaking() && !server.has_output() {
                return;
            }
        }
        panic!("no end of the handshake");
    }

    #[test]
    fn a_flight_that_the_socket_does_not_take_waits_for_room_and_is_finished_by_reads() {
        let (_dir, tls, mut client) = certificate(500);
        let (stream, mut socket) = narrow_pair();
        let mut server = tls.accept(stream).unwrap();
        while client.wants_write() {
            client.write_tls(&mut socket).unwrap();
        }
        assert!(server.read(&mut [0; 64]).is_err());
        assert!(server.has_output(), "35 kB of certificate do not fit into 4 kB");
        would_block(server.read(&mut [0; 64]));
        assert!(server.has_output() && server.is_handshaking());
        shake_hands(&mut server, &mut client, &mut socket);
        assert!(!server.has_output());
    }

    #[test]
    fn a_write_has_succeeded_when_the_ciphertext_is_with_the_kernel() {
        let (_dir, tls, mut client) = certificate(1);
        let (stream, mut socket) = narrow_pair();
        let mut server = tls.accept(stream).unwrap();
        shake_hands(&mut server, &mut client, &mut socket);

        let sent: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut taken, mut got) = (0, Vec::new());
        let mut blocked = 0;
        while got.len() < sent.len() {
            match server.write(&sent[taken..]) {
                Ok(n) => {
                    assert!(!server.has_output(), "what is reported is not in rustls' buffers");
                    taken += n;
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    blocked += 1;
                }
            }
            pump(&mut client, &mut socket);
            let mut buf = [0; 65536];
            while let Ok(n) = client.reader().read(&mut buf) {
                got.extend_from_slice(&buf[..n]);
            }
        }
        assert!(blocked > 0, "a socket of 4 kB must have been full");
        assert!(got == sent);
        assert_eq!(taken, sent.len());
    }

    #[test]
    fn octets_that_were_decrypted_but_not_handed_on_are_announced() {
        let (_dir, tls, mut client) = certificate(1);
        let (stream, mut socket) = narrow_pair();
        let mut server = tls.accept(stream).unwrap();
        shake_hands(&mut server, &mut client, &mut socket);
        client.writer().write_all(b"GET / HTTP/1.1\r\n").unwrap();
        pump(&mut client, &mut socket);
        let mut got = Vec::new();
        let mut buf = [0; 3];
        while got.len() < 16 {
            match server.read(&mut buf) {
                Ok(n) => got.extend_from_slice(&buf[..n]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
            assert_eq!(server.has_input(), got.len() < 16, "after {got:?}");
        }
        would_block(server.read(&mut buf));
    }

    #[test]
    fn close_notify_is_an_end_and_so_is_an_end_without_it() {
        for polite in [true, false] {
            let (_dir, tls, mut client) = certificate(1);
            let (stream, mut socket) = narrow_pair();
            let mut server = tls.accept(stream).unwrap();
            shake_hands(&mut server, &mut client, &mut socket);
            if polite {
                client.send_close_notify();
                pump(&mut client, &mut socket);
            } else {
                socket.shutdown(std::net::Shutdown::Write).unwrap();
            }
            assert_eq!(server.read(&mut [0; 64]).unwrap(), 0);
            server.shut_down_write().unwrap();
            pump(&mut client, &mut socket);
            assert_eq!(client.reader().read(&mut [0; 64]).unwrap(), 0, "close_notify came");
        }
    }

    #[test]
    fn a_handshake_broken_off_is_an_error_and_one_never_begun_is_not() {
        let (_dir, tls, mut client) = certificate(1);
        let (stream, mut socket) = narrow_pair();
        let mut server = tls.accept(stream).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        socket.write_all(&hello[..20]).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut last = server.read(&mut [0; 64]);
        while last.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            last = server.read(&mut [0; 64]);
        }
        assert_eq!(last.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        let (stream, socket) = narrow_pair();
        drop(socket);
        assert_eq!(tls.accept(stream).unwrap().read(&mut [0; 64]).unwrap(), 0);
    }

    #[test]
    fn plain_http_is_answered_in_plain() {
        let (_dir, tls, _) = certificate(1);
        let (stream, mut socket) = narrow_pair();
        let mut server = tls.accept(stream).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(server.read(&mut [0; 64]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(server);
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_the_reason_and_the_old_one_stays() {
        let (dir, mut tls, _) = certificate(1);
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let (_other_dir, other, _) = certificate(1);
        let before = tls.config.clone();
        for (file, contents, what) in [
            (&cert, "nothing".to_owned(), "no such PEM section"),
            (&key, "nothing".to_owned(), "no such PEM section"),
            (&key, std::fs::read_to_string(&other.key).unwrap(), "not the certificate's key"),
            (
                &cert,
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned(),
                "cannot use",
            ),
        ] {
            let good = std::fs::read(file).unwrap();
            std::fs::write(file, contents).unwrap();
            let error = tls.reload().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(file.to_str().unwrap()), "{error}");
            assert!(Arc::ptr_eq(&before, &tls.config));
            std::fs::write(file, good).unwrap();
        }
        std::fs::remove_file(&key).unwrap();
        assert!(tls.reload().unwrap_err().to_string().contains("No such file"));
    }
}
