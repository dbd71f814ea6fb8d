//! The null test's server: it answers whatever comes with the same bytes. No parsing beyond finding the end of a
//! head, no file, no limit; it spins. What the client measures against it is the floor below which no figure means
//! anything: the client, two socket calls, and loopback.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::parent_id;

/// Sweeps between two looks at whether the parent is still there: about a few hundred a second.
const SWEEPS_PER_LOOK: u32 = 1 << 12;

/// Serves `body_bytes` of `'x'` on a free port, names the port on standard output as our own server does, and ends when
/// its parent is gone.
pub fn run(body_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    println!("http://{}/", listener.local_addr()?);
    let parent = parent_id();
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    let mut clients: Vec<TcpStream> = Vec::new();
    let mut sweeps: u32 = 0;
    loop {
        sweeps = sweeps.wrapping_add(1);
        if sweeps.is_multiple_of(SWEEPS_PER_LOOK) && parent_id() != parent {
            return Ok(());
        }
        // Newcomers are rare here; looking for them in every sweep would be work that the null test is to leave out.
        if clients.is_empty() || sweeps.is_multiple_of(64) {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                clients.push(stream);
            }
        }
        clients.retain_mut(|client| turn(client, &answer));
    }
}

/// False once the client is to be forgotten.
fn turn(client: &mut TcpStream, answer: &[u8]) -> bool {
    let mut buffer = [0; 2048];
    match client.read(&mut buffer) {
        Ok(0) => false,
        // Our client sends a request in one write, and only after the last answer; an incomplete one is not ours.
        Ok(n) => {
            buffer.get(..n).is_some_and(|got| got.ends_with(b"\r\n\r\n")) && client.write_all(answer).is_ok()
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
