//! One request: through the bare protocol, through a client's turn, and there and back for every I/O model.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput};

use common::asking::Asking;
use common::serving::{self, LENGTH, Serving};
use common::silent::Silent;
use wouldblock::access_log::AccessLog;
use wouldblock::config::Model;
use wouldblock::http::{
    Connection, HeaderStorage, HttpDate, Limits, Payload, Request, ResponseHead, Spare, Status,
};
use wouldblock::net::{Client, Stream, Worker};
use wouldblock::service::{Content, Context, Peer, Response, Service};
use wouldblock::site::{Options, Site};

/// What a load generator sends, and what a browser sends.
const SHORT: &str = "GET /1k.txt HTTP/1.1\r\nHost: localhost:7890\r\n\r\n";
const BROWSER: &str = "GET /1k.txt HTTP/1.1\r\nHost: localhost:7890\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; \
    rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\
    \r\nAccept-Language: zh-CN,zh;q=0.8,en-US;q=0.5,en;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: none\r\nSec-Fetch-User: ?1\r\nPriority: u=0, i\r\n\r\n";

const FIELDS: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\nETag: \"0123456789abcdef\"\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\nCache-Control: no-cache\r\n";
const BODY: [u8; LENGTH] = [b'x'; LENGTH];

/// How deep the pipelines are.
const DEPTH: usize = 16;

/// Beside how many silent connections the models are asked.
const SILENT: [usize; 2] = [0, 1000];

fn main() {
    if common::was_holder() {
        return;
    }
    let mut criterion = common::criterion();
    bare(&mut criterion);
    turns(&mut criterion);
    round_trips(&mut criterion);
    crowds(&mut criterion);
    criterion.final_summary();
}

/// Octets in, octets out; no socket, no service, no allocation once warm.
fn bare(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bare connection");
    for (name, text, requests) in
        [("short", SHORT, 1), ("browser", BROWSER, 1), ("short, 16 pipelined", SHORT, DEPTH)]
    {
        group.throughput(Throughput::Elements(requests as u64));
        let input = text.repeat(requests);
        let mut bare = Bare::new();
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(bare.exchange(input.as_bytes()), requests, "all were answered"));
        });
    }
    group.finish();
}

struct Bare {
    connection: Connection,
    spare: Spare,
    date: HttpDate,
    now: Instant,
}

impl Bare {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(Arc::new(Limits::default()), now),
            spare: Spare::default(),
            date: HttpDate::from_unix(784_111_777),
            now,
        }
    }

    /// One read, the answers, one write. Returns how many requests were answered.
    fn exchange(&mut self, input: &[u8]) -> usize {
        let Self { connection, spare, date, now } = self;
        connection.handle_timeout(*now);
        let space = connection.recv_space(spare);
        space[..input.len()].copy_from_slice(input);
        connection.received(input.len(), *now);
        let mut answered = 0;
        loop {
            let mut storage = HeaderStorage::new();
            let Some(request) = connection.next_request(&mut storage, spare, *now) else { break };
            assert!(request.is_ok(), "the request is good");
            let head = ResponseHead { status: Status::OK, fields: FIELDS };
            connection.respond(&head, Payload::Inline(&BODY), date, spare, *now);
            answered += 1;
        }
        let octets = std::hint::black_box(connection.transmit().head).len();
        connection.transmitted(octets, *now);
        connection.release(spare);
        answered
    }
}

/// A client's whole turn over a socket pair. "floor" is the same octets there and back with nothing between: the
/// asker's own two calls are in all of them.
fn turns(criterion: &mut Criterion) {
    let folder = serving::folder();
    let mut group = criterion.benchmark_group("client turn");
    group.bench_function("floor", |b| {
        let (mut asker, mut other) = pair();
        let (mut buffer, answer) = ([0; 16 * 1024], [b'x'; LENGTH + 256]);
        b.iter(|| {
            asker.write_all(SHORT.as_bytes()).expect("an empty socket takes a request");
            assert_eq!(other.read(&mut buffer).expect("it is here at once"), SHORT.len());
            other.write_all(&answer).expect("an empty socket takes an answer");
            assert_eq!(asker.read(&mut buffer).expect("it is here at once"), answer.len());
        });
    });
    group.bench_function("from memory", |b| turn(b, Box::new(Fixed::new())));
    group.bench_function("from the folder", |b| {
        turn(b, Box::new(Site::open(Options::new(folder.path())).expect("the folder is there")));
    });
    group.finish();
}

fn turn(b: &mut criterion::Bencher<'_>, service: Box<dyn Service + Send>) {
    let (mut asker, other) = pair();
    let mut worker = Worker::new(service, Limits::default(), AccessLog::off());
    let mut client = Client::new(Stream::Unix(other), Peer::Unix, &mut worker, Instant::now());
    let mut buffer = [0; 16 * 1024];
    b.iter(|| {
        asker.write_all(SHORT.as_bytes()).expect("an empty socket takes a request");
        let now = Instant::now();
        worker.tick(now);
        assert!(
            client.turn(&mut worker, now).is_ok_and(|work| work > 0),
            "the client stays, and got an answer"
        );
        let n = asker.read(&mut buffer).expect("the answer is here at once");
        assert!(buffer.starts_with(b"HTTP/1.1 200") && n > LENGTH, "{}", buffer[..n].escape_ascii());
    });
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().expect("two descriptors");
    for end in [&one, &other] {
        end.set_nonblocking(true).expect("sockets can be nonblocking");
    }
    (one, other)
}

/// Answers everything with the same 1 KiB.
struct Fixed(Response);

impl Fixed {
    fn new() -> Self {
        Self(Response { status: Status::OK, fields: Arc::from(FIELDS), content: Content::from_bytes(BODY) })
    }
}

impl Service for Fixed {
    fn respond(&mut self, _: &Request<'_>, _: &Context<'_>) -> Option<Response> {
        Some(self.0.clone())
    }

    fn refuse(&mut self, status: Status, _: &str) -> Response {
        Response { status, ..self.0.clone() }
    }
}

/// One client asks and waits for its answer: every model, and our own with its idle strategies and sweeps.
fn round_trips(criterion: &mut Criterion) {
    let folder = serving::folder();
    let mut group = criterion.benchmark_group("round trip");
    for silent in SILENT {
        if !common::has_room_for(silent) {
            continue;
        }
        for (name, model, flags) in servers() {
            if model == Model::Blocking && silent > 0 {
                println!(
                    "left out: blocking beside {silent} silent connections; the first of them would hold it up"
                );
                continue;
            }
            let mut running = match Running::start(folder.path(), &flags, silent, 1) {
                Ok(running) => running,
                Err(why) => {
                    println!("left out: {name} beside {silent} silent connections: {why}");
                    continue;
                }
            };
            group.bench_function(BenchmarkId::new(name, silent), |b| {
                b.iter_custom(|requests| running.asking.ask(requests));
            });
        }
    }
    group.finish();
}

/// All servers that are compared: a name, the model, its flags.
fn servers() -> Vec<(String, Model, Vec<String>)> {
    let mut servers = Vec::new();
    for (idle, sweep) in [
        ("spin", "hot"),
        ("spin", "full"),
        ("yield", "hot"),
        ("sleep:1ms", "hot"),
        ("backoff", "hot"),
        ("park", "hot"),
    ] {
        let flags = ["--model", "nonblocking", "--idle", idle, "--sweep", sweep].map(str::to_owned);
        servers.push((format!("nonblocking {idle} {sweep}"), Model::Nonblocking, flags.to_vec()));
    }
    for model in Model::ALL.into_iter().filter(|model| *model != Model::Nonblocking) {
        servers.push((model.name().to_owned(), model, vec!["--model".to_owned(), model.name().to_owned()]));
    }
    servers
}

/// Many clients, each asking again as soon as it has its answer: the nonblocking loop where it is at home, and the
/// kernel's list beside it.
fn crowds(criterion: &mut Criterion) {
    let folder = serving::folder();
    let mut group = criterion.benchmark_group("throughput");
    group.throughput(Throughput::Elements(1));
    for clients in [16, 64] {
        for (name, _, flags) in servers() {
            if !["nonblocking spin hot", "nonblocking park hot", "epoll"].contains(&name.as_str()) {
                continue;
            }
            match Running::start(folder.path(), &flags, 0, clients) {
                Ok(mut running) => {
                    group.bench_function(BenchmarkId::new(name, clients), |b| {
                        b.iter_custom(|requests| running.asking.ask(requests));
                    });
                }
                Err(why) => println!("left out: {name} with {clients} clients: {why}"),
            }
        }
    }
    group.finish();
}

/// A server with its silent connections and those who ask.
struct Running {
    asking: Asking,
    _silent: Silent,
    _server: Serving,
}

impl Running {
    fn start(root: &std::path::Path, flags: &[String], silent: usize, asking: usize) -> Result<Self, String> {
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let server = Serving::ours(root, &flags)?;
        let mut holder = Silent::start(server.address, silent);
        let held = holder.held();
        if held < silent {
            return Err(format!("only {held} of {silent} silent connections could be made"));
        }
        let asking = Asking::connect(server.address, asking).map_err(|error| error.to_string())?;
        Ok(Self { asking, _silent: holder, _server: server })
    }
}
