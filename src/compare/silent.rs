//! Silent connections, held by a process of their own: 10,000 descriptors and their memory are then not the client's,
//! and the holder sleeps in a read, so it takes no time from anybody.
//!
//! The two sides talk in lines: the holder says `held N` once, and why if there are not more; to each line it is sent it replies `alive N`; at end of
//! input it ends.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::serving::Site;

/// Connections opened before a pause that lets the server drain its accept queue: half of the 128 that
/// `TcpListener::bind` asks for. A queue that overflows costs a SYN retry of a whole second.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);

/// The holder's side: opens `count` connections to `address`, says how many, and holds them until end of input.
pub fn hold(address: SocketAddr, count: usize) -> io::Result<()> {
    super::machine::raise_file_limit();
    let mut held = Vec::with_capacity(count);
    let mut why = String::new();
    let mut out = io::stdout().lock();
    for i in 0..count {
        match TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
            Ok(stream) => held.push(stream),
            Err(error) => {
                why = format!(" {error}");
                break;
            }
        }
        if i % BURST == BURST - 1 {
            std::thread::sleep(PAUSE);
        }
    }
    writeln!(out, "held {}{why}", held.len())?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        line?;
        writeln!(out, "alive {}", held.iter().filter(|stream| is_open(stream)).count())?;
        out.flush()?;
    }
    Ok(())
}

/// Whether the server still keeps its end open: nothing to read is good news, end of file and reset are not.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_ok()
        && matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The measuring side: a running holder. Dropping it ends it and closes its connections.
pub struct Holder {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    held: usize,
}

impl Holder {
    /// Starts a holder and waits until it has connected. It may hold fewer than were asked for: see [`Self::held`].
    pub fn start(address: SocketAddr, count: usize, site: &Site) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["compare", "hold", &address.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = site.tie(&mut command).spawn()?;
        let input = child.stdin.take();
        let Some(output) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut holder = Self { child, input, output: BufReader::new(output), held: 0 };
        let (held, why) = holder.hear("held ")?;
        if held < count {
            log::warn!("silent connection {held} of {count} to {address}: {why}");
        }
        holder.held = held;
        Ok(holder)
    }

    /// How many connections it got.
    pub const fn held(&self) -> usize {
        self.held
    }

    /// How many of them the server still keeps open.
    pub fn alive(&mut self) -> io::Result<usize> {
        if let Some(input) = &mut self.input {
            writeln!(input, "?")?;
        }
        Ok(self.hear("alive ")?.0)
    }

    /// The number in the next line, and what is said of it.
    fn hear(&mut self, what: &str) -> io::Result<(usize, String)> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let heard = line.trim().strip_prefix(what).and_then(|rest| {
            let (number, why) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((number.parse().ok()?, why.to_owned()))
        });
        heard.ok_or_else(|| io::Error::other(format!("the holder of silent connections said {line:?}")))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.input.take()); // end of input: it ends by itself
        let _ = self.child.wait();
    }
}
