//! The limit: the same loop (nonblocking sockets, the lately active tried, the quiet asked in slices) that answers
//! every read with the same octets. No parsing, no file, no timeouts, no log: what is left is the kernel and the loop,
//! so no server built on this loop can be faster. Measured side by side with ours.
//!
//! As a server, for other load generators: `cargo bench --bench limit -- --serve PORT [--close]`. With `--close` it
//! ends each connection after one answer. Each blank line counts as a request, so it must come in one read.
//!
//! As a client, for other servers: `… -- --ask ADDRESS PATH LENGTH CONNECTIONS DEPTH SECONDS [--close]` prints what it
//! has seen as a line of JSON. DEPTH: requests sent together. With `--close` each has a connection of its own.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use common::asking::{Asking, Question};
use common::samples::Samples;
use common::serving::{self, LENGTH, Serving};
use memchr::memmem;
use wouldblock::net::{HOT_FOR, Pace};

/// How many ask at once.
const CLIENTS: [usize; 3] = [1, 16, 64];

/// As in our loop: an accept that would block costs as much as seven such reads.
const ACCEPT_EVERY: Duration = Duration::from_micros(50);

fn main() -> io::Result<()> {
    if common::was_holder() {
        return Ok(());
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).filter(|&word| word != "--bench").collect();
    match arguments[..] {
        ["--serve", port, ref more @ ..] => {
            return serve(number(port)?, more.contains(&"--close"));
        }
        ["--ask", address, path, length, connections, depth, seconds, ref more @ ..] => {
            let close = more.contains(&"--close");
            let question = Question { path, length: number(length)?, depth: number(depth)?, close };
            return ask(number(address)?, number(connections)?, &question, number(seconds)?);
        }
        [first @ ("--serve" | "--ask"), ..] => {
            return Err(io::Error::other(format!("{first} needs other arguments: see the top of limit.rs")));
        }
        _ => {}
    }
    let mut criterion = common::criterion();
    side_by_side(&mut criterion);
    criterion.final_summary();
    Ok(())
}

fn number<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse().map_err(|_| io::Error::other(format!("not understood: {word}")))
}

/// First up to a second to warm up: the file in every cache, the branches predicted; then it waits for a line on
/// standard input and measures. Each further line is another measurement, after a tenth of that time to warm up.
fn ask(address: SocketAddr, connections: usize, question: &Question<'_>, seconds: f64) -> io::Result<()> {
    let mut asking = Asking::with(address, connections, question)?;
    let mut warm_up = seconds.min(1.0);
    let mut line = String::new();
    loop {
        asking.ask_for(Duration::from_secs_f64(warm_up))?;
        println!("warm");
        io::stdin().read_line(&mut line)?;
        let asked = asking.ask_for(Duration::from_secs_f64(seconds))?;
        let microseconds = |quantile| asked.latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{{\"requests\":{},\"microseconds\":{},\"bytes\":{},\"reconnected\":{},\"p50\":{:.1},\"p99\":{:.1}}}",
            asked.requests,
            asked.took.as_micros(),
            asked.octets,
            asked.reconnected,
            microseconds(0.5),
            microseconds(0.99)
        );
        if io::stdin().read_line(&mut line)? == 0 {
            return Ok(());
        }
        warm_up = seconds / 10.0;
    }
}

fn side_by_side(criterion: &mut Criterion) {
    let folder = serving::folder();
    let samples = Samples::default();
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Elements(1));
    for clients in CLIENTS {
        for name in ["limit", "ours"] {
            let server = match name {
                "limit" => Serving::this(&["--serve", "0"]),
                _ => Serving::ours(folder.path(), &["--idle", "spin"]),
            };
            let asking = server.and_then(|server| {
                let asking = Asking::connect(server.address, clients).map_err(|error| error.to_string())?;
                Ok((server, asking))
            });
            match asking {
                Ok((_server, mut asking)) => {
                    group.bench_function(BenchmarkId::new(name, clients), |b| {
                        b.iter_custom(|requests| {
                            let time = asking.ask(requests);
                            samples.keep(name, clients, time, requests);
                            time
                        });
                    });
                }
                Err(why) => println!("left out: {name} with {clients} clients: {why}"),
            }
        }
    }
    group.finish();
    if !common::is_trial() {
        print_ratios(&samples);
    }
}

fn print_ratios(samples: &Samples) {
    println!(
        "\n| clients | limit, requests/s | ours, requests/s | ours ÷ limit |\n| --- | --- | --- | --- |"
    );
    for clients in CLIENTS {
        if let (Some(limit), Some(ours)) = (samples.median("limit", clients), samples.median("ours", clients))
        {
            println!("| {clients} | {:.0} | {:.0} | {:.2} |", 1e9 / limit, 1e9 / ours, limit / ours);
        }
    }
    println!();
}

struct Seat {
    socket: TcpStream,
    active_at: Instant,
    /// Octets of answers that the socket has not taken yet.
    owed: usize,
}

enum Turn {
    Idle,
    Worked,
    Over,
}

fn serve(port: u16, close: bool) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    rustix::net::listen(&listener, 4096)?; // the standard library asks for 128 places
    listener.set_nonblocking(true)?;
    eprintln!("serving 1 KiB on http://{}/", listener.local_addr()?);
    let answer = answer(close);
    let mut buffer = [0; 16 * 1024];
    let mut seats: Vec<Seat> = Vec::new();
    let (mut hot, mut cursor, mut worked) = (0, 0, false);
    let mut next_accept = Instant::now();
    let mut pace = Pace::new(next_accept);
    loop {
        let now = Instant::now();
        if now >= next_accept {
            match listener.accept() {
                Ok((socket, _)) => {
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    seats.push(Seat { socket, active_at: now, owed: 0 });
                    let last = seats.len() - 1;
                    seats.swap(hot, last);
                    hot += 1;
                }
                Err(_) => next_accept = now + ACCEPT_EVERY,
            }
        }
        if hot < seats.len() {
            let slice = pace.slice(hot, seats.len() - hot, worked, now);
            if slice > 0 {
                ask_quiet(&mut seats, &mut hot, &mut cursor, slice);
            }
        }
        worked = false;
        let mut place = 0;
        while place < hot {
            match turn(&mut seats[place], &mut buffer, &answer, close, now) {
                Turn::Worked => {
                    worked = true;
                    place += 1;
                }
                Turn::Idle if seats[place].owed == 0 && now >= seats[place].active_at + HOT_FOR => {
                    hot -= 1;
                    seats.swap(place, hot);
                }
                Turn::Idle => place += 1,
                Turn::Over => {
                    hot -= 1;
                    seats.swap(place, hot);
                    seats.swap_remove(hot);
                }
            }
        }
    }
}

/// Whoever of a slice of the quiet has something becomes hot.
fn ask_quiet(seats: &mut [Seat], hot: &mut usize, cursor: &mut usize, slice: usize) {
    if *cursor < *hot || *cursor >= seats.len() {
        *cursor = *hot;
    }
    let start = *cursor;
    *cursor = (start + slice).min(seats.len());
    let mut asked: Vec<_> =
        seats[start..*cursor].iter().map(|seat| PollFd::new(&seat.socket, PollFlags::IN)).collect();
    if !poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        return;
    }
    let ready: Vec<_> = asked.iter().map(|fd| !fd.revents().is_empty()).collect();
    for (at, _) in ready.into_iter().enumerate().filter(|(_, ready)| *ready) {
        seats.swap(start + at, *hot);
        *hot += 1;
    }
}

/// One read, and an answer for each blank line; or the rest of what was owed.
#[inline]
fn turn(seat: &mut Seat, buffer: &mut [u8], answers: &Answers, close: bool, now: Instant) -> Turn {
    if seat.owed == 0 {
        match seat.socket.read(buffer) {
            Ok(n) if n > 0 => {
                seat.active_at = now;
                let requests = memmem::find_iter(&buffer[..n], b"\r\n\r\n").count();
                seat.owed = requests * answers.one;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Turn::Idle,
            _ => return Turn::Over,
        }
    }
    // All answers are alike: how many octets are still owed tells where the next begins.
    let from = (answers.one - seat.owed % answers.one) % answers.one;
    let to = answers.octets.len().min(from + seat.owed);
    let piece = &answers.octets[from..to];
    let sent = if close && piece.len() == seat.owed {
        write_last(&seat.socket, piece)
    } else {
        seat.socket.write(piece)
    };
    match sent {
        Ok(n) => {
            seat.owed -= n;
            if close && seat.owed == 0 { Turn::Over } else { Turn::Worked }
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Turn::Idle,
        Err(_) => Turn::Over,
    }
}

/// The end follows at once, and is to leave in the same packet; as in our loop.
#[cfg(target_os = "linux")]
fn write_last(socket: &TcpStream, octets: &[u8]) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};
    Ok(send(socket, octets, SendFlags::MORE | SendFlags::NOSIGNAL)?)
}

#[cfg(not(target_os = "linux"))]
fn write_last(mut socket: &TcpStream, octets: &[u8]) -> io::Result<usize> {
    socket.write(octets)
}

/// Several answers in a row, for requests that come together.
struct Answers {
    octets: Vec<u8>,
    one: usize,
}

/// As long as what our server says about a small text file.
fn answer(close: bool) -> Answers {
    let connection = if close { "Connection: close\r\n" } else { "" };
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: {LENGTH}\r\n{connection}\
         Content-Type: text/plain; charset=utf-8\r\nETag: \"0123456789abcdef\"\r\n\
         Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\nCache-Control: no-cache\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + LENGTH, b'x');
    let one = answer.len();
    Answers { octets: answer.repeat((64 * 1024 / one).clamp(1, 16)), one }
}
