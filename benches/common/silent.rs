//! Connections that say nothing. Their other ends are held by a child process (this program, started again), so that
//! one process need not have both ends of 10,000 connections, which would be 20,000 descriptors.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use socket2::SockRef;

/// The argument that makes a bench a holder.
const HOLD: &str = "--hold-silent-connections";

/// Connections opened between pauses that let the server empty its queue of newcomers. A queue that overflows costs a
/// whole second (the SYN is sent again).
const BURST: usize = 256;
const PAUSE: Duration = Duration::from_millis(1);

/// Holds connections until the end of standard input, if this process was started for that.
pub(super) fn hold_if_told() -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != HOLD).skip(1);
    let (Some(address), Some(count)) = (arguments.next(), arguments.next()) else { return false };
    let address: SocketAddr = address.parse().expect("the holder is given an address");
    let count: usize = count.parse().expect("the holder is given a number");
    let mut held = Vec::with_capacity(count);
    for i in 0..count {
        match TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
            Ok(socket) => {
                // Ends in a reset and not in 10,000 sockets in TIME_WAIT, which would slow the next bench down.
                let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                held.push(socket);
            }
            Err(error) => {
                eprintln!("silent connection {} of {count}: {error}", i + 1);
                break;
            }
        }
        if i % BURST == BURST - 1 {
            std::thread::sleep(PAUSE);
        }
    }
    println!("{}", held.len());
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    true
}

/// The process that holds the other ends. Dropping it closes them.
pub(crate) struct Silent {
    holder: Child,
    output: BufReader<ChildStdout>,
}

impl Silent {
    /// Begins to connect; the server must accept meanwhile.
    pub(crate) fn start(address: SocketAddr, count: usize) -> Self {
        let mut holder = Command::new(std::env::current_exe().expect("a program knows its own file"))
            .args([HOLD, &address.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a program can be started again");
        let output = BufReader::new(holder.stdout.take().expect("the output is a pipe"));
        Self { holder, output }
    }

    /// Waits until all are connected, and says how many that are.
    pub(crate) fn held(&mut self) -> usize {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the holder says how many it holds");
        line.trim().parse().unwrap_or(0)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        if let Some(mut input) = self.holder.stdin.take() {
            let _ = input.flush(); // its end of file ends the holder
        }
        let _ = self.holder.wait();
    }
}

/// Server's ends of silent connections, nonblocking, and whoever holds the other ends. For benches of single calls.
pub(crate) struct SilentSockets {
    pub(crate) sockets: Vec<TcpStream>,
    _holder: Silent,
}

impl SilentSockets {
    pub(crate) fn new(count: usize) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let holder = Silent::start(address, count);
        let sockets = (0..count)
            .map(|_| {
                let (socket, _) = listener.accept().expect("the holder connects");
                socket.set_nonblocking(true).expect("sockets can be nonblocking");
                socket
            })
            .collect();
        Self { sockets, _holder: holder }
    }
}
