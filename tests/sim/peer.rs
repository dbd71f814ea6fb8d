//! The simulated peers: what each will say, how it says it, and an eye of its own for what it gets.

use std::time::{Duration, Instant};

use super::rng::Rng;
use super::site::{FILE_LEN, Kind};
use super::wire::Shared;

/// What a request is to be answered with.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Answer {
        id: u64,
        kind: Kind,
        head_only: bool,
    },
    /// This status, and then the end.
    Refusal(u16),
    /// The request was garbled by chance: any well-formed answer, and any end.
    Anything,
}

/// How a peer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// Says that no more comes when it has all its answers.
    WhenAnswered,
    /// Says that no more comes as soon as everything is sent, and waits for its answers.
    HalfCloses,
    /// Resets after so many octets.
    Resets(usize),
    /// Says and takes nothing any more after so many octets.
    FallsSilent(usize),
}

/// Requests that are refused, and the status each deserves.
const REFUSED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\nHost: x\n\n", 400),
    ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
    ("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ("GET / HTTP/1.1\r\nHost: x\r\nExpect: a miracle\r\n\r\n", 417),
    ("\0\u{1}\u{2}\r\n\r\n", 400),
];

/// Where in the stream of answers a peer is.
#[derive(Debug)]
enum Reading {
    Head,
    /// In the body of the answer that is due: how much has come, how much was promised.
    Body(u64, u64),
}

pub(super) struct Peer {
    pub(super) number: usize,
    pub(super) wire: Shared,
    rng: Rng,
    /// All it will say, and where each request ends.
    script: Vec<u8>,
    ends: Vec<usize>,
    expected: Vec<Expect>,
    /// Whether the server ends the connection after the last expected answer.
    ends_after_last: bool,
    ending: Ending,
    /// How many requests it sends ahead of their answers.
    depth: usize,
    /// Most octets sent at once, and longest pause between.
    piece: usize,
    pause: Duration,
    /// Most octets taken at once, and once in so many steps.
    thirst: usize,
    laziness: usize,
    sent: usize,
    next_send: Instant,
    said_end: bool,
    silent: bool,
    got: Vec<u8>,
    reading: Reading,
    answered: usize,
    saw_end: bool,
}

impl Peer {
    pub(super) fn new(number: usize, wire: Shared, mut rng: Rng, now: Instant) -> Self {
        let mut peer = Self {
            number,
            wire,
            script: Vec::new(),
            ends: Vec::new(),
            expected: Vec::new(),
            ends_after_last: false,
            ending: Ending::WhenAnswered,
            depth: if rng.one_in(2) { 1 } else { rng.between(1, 30) },
            piece: rng.pick(&[1, 3, 40, 700, 20_000, 1_000_000]),
            pause: Duration::from_micros(rng.pick(&[0, 50, 500, 5000])),
            thirst: rng.pick(&[50, 3000, 100_000, 10_000_000]),
            laziness: rng.pick(&[1, 1, 2, 7]),
            sent: 0,
            next_send: now,
            said_end: false,
            silent: false,
            got: Vec::new(),
            reading: Reading::Head,
            answered: 0,
            saw_end: false,
            rng: rng.fork(),
        };
        let rng = &mut rng;
        let count = rng.pick(&[0, 1, 1, 2, 3, 5, 20]);
        for at in 0..count {
            if peer.ends_after_last {
                break;
            }
            peer.compose((number * 1000 + at) as u64, rng);
            peer.ends.push(peer.script.len());
        }
        if peer.ends_after_last && matches!(peer.expected.last(), Some(Expect::Refusal(_))) && rng.one_in(2) {
            // Goes on talking although it was refused: the answer must survive that.
            let more = rng.between(1, 30_000);
            peer.script.resize(peer.script.len() + more, b'x');
            *peer.ends.last_mut().unwrap() = peer.script.len();
        }
        let somewhere = rng.between(0, peer.script.len());
        peer.ending = match rng.below(8) {
            0 => Ending::Resets(somewhere),
            1 => Ending::FallsSilent(somewhere),
            2 | 3 => Ending::HalfCloses,
            _ => Ending::WhenAnswered,
        };
        if peer.ending == Ending::HalfCloses {
            peer.depth = usize::MAX; // or it would wait for an answer before it sends everything
        }
        peer
    }

    /// One more request for the script.
    fn compose(&mut self, id: u64, rng: &mut Rng) {
        match rng.below(40) {
            0 => {
                let (octets, status) = rng.pick(REFUSED);
                self.script.extend_from_slice(octets.as_bytes());
                return self.expect_the_end(Expect::Refusal(status));
            }
            1 => {
                let (line, status) = if rng.one_in(2) {
                    (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)), 414)
                } else {
                    (format!("GET / HTTP/1.1\r\nHost: x\r\n{}", "X-Y: endless\r\n".repeat(1500)), 431)
                };
                self.script.extend_from_slice(line.as_bytes());
                return self.expect_the_end(Expect::Refusal(status));
            }
            _ => {}
        }
        let kind = self.kind(rng);
        let method = rng.pick(&["GET", "GET", "GET", "HEAD", "POST"]);
        let (version, persistent, option) = match rng.below(16) {
            0 => ("HTTP/1.0", false, ""),
            1 => ("HTTP/1.0", true, "Connection: keep-alive\r\n"),
            2 => ("HTTP/1.1", false, "Connection: close\r\n"),
            _ => ("HTTP/1.1", true, ""),
        };
        let body_len = if rng.one_in(6) { rng.between(0, 50_000) } else { 0 };
        let chunked = version == "HTTP/1.1" && rng.one_in(2);
        let start = self.script.len();
        let target = kind.target(id);
        let mut text = format!("{method} {target} {version}\r\nHost: x\r\n{option}");
        if body_len > 0 && version == "HTTP/1.1" && rng.one_in(4) {
            text.push_str("Expect: 100-continue\r\n");
        }
        if body_len > 0 && chunked {
            text.push_str("Transfer-Encoding: chunked\r\n\r\n");
            let mut left = body_len;
            while left > 0 {
                let chunk = rng.between(1, left);
                text.push_str(&format!("{chunk:x}\r\n{}\r\n", "c".repeat(chunk)));
                left -= chunk;
            }
            text.push_str("0\r\n\r\n");
        } else {
            if body_len > 0 {
                text.push_str(&format!("Content-Length: {body_len}\r\n"));
            }
            text.push_str("\r\n");
            text.push_str(&"b".repeat(body_len));
        }
        self.script.extend_from_slice(text.as_bytes());
        if rng.one_in(60) {
            let at = rng.between(start, self.script.len() - 1);
            self.script[at] = rng.next() as u8;
            return self.expect_the_end(Expect::Anything);
        }
        let head_only = method == "HEAD";
        let expect = Expect::Answer { id, kind, head_only };
        if !persistent || (kind.available() < kind.len() && !head_only) {
            return self.expect_the_end(expect);
        }
        self.expected.push(expect);
    }

    fn expect_the_end(&mut self, expect: Expect) {
        self.expected.push(expect);
        self.ends_after_last = true;
    }

    fn kind(&self, rng: &mut Rng) -> Kind {
        let len = match rng.below(60) {
            0 => rng.between(500_000, 1_200_000),
            1..=5 => rng.between(10_000, 40_000),
            _ => rng.between(0, 2000),
        } as u64;
        let offset = rng.between(0, (FILE_LEN - len) as usize) as u64;
        match rng.below(32) {
            0 => Kind::Vanished,
            1 => Kind::Broken,
            2 => Kind::Short(len + 1, rng.between(0, len as usize) as u64),
            3..=6 => Kind::Parts(offset, len),
            7..=16 if len > 0 => Kind::File(offset, len),
            _ => Kind::Memory(len),
        }
    }

    /// Says and takes something, perhaps.
    pub(super) fn act(&mut self, now: Instant) {
        if self.silent {
            return;
        }
        if self.rng.one_in(self.laziness) {
            let most = self.rng.between(1, self.thirst);
            self.take(most);
        }
        self.say(now);
    }

    /// From now on says everything at once and takes everything; who had fallen silent leaves.
    pub(super) fn hurry(&mut self) {
        self.piece = usize::MAX;
        self.pause = Duration::ZERO;
        self.thirst = usize::MAX >> 1;
        self.laziness = 1;
        self.wire.borrow_mut().widen();
        // What was garbled by chance may have no end; then nobody can wait for it.
        let garbled = matches!(self.expected.get(self.answered), Some(Expect::Anything));
        self.silent |= garbled && self.sent == self.script.len();
        if self.silent && !self.wire.borrow().closed_by_server() {
            self.wire.borrow_mut().reset();
        }
    }

    /// From now on says and takes nothing.
    pub(super) const fn fall_silent(&mut self) {
        self.silent = true;
    }

    fn say(&mut self, now: Instant) {
        if now < self.next_send || self.said_end || self.saw_end {
            return;
        }
        let ahead = self.answered.saturating_add(self.depth).min(self.ends.len());
        let mut upto = if ahead == 0 { 0 } else { self.ends[ahead - 1] };
        if let Ending::Resets(at) | Ending::FallsSilent(at) = self.ending {
            upto = upto.min(at);
        }
        let n = upto.saturating_sub(self.sent).min(self.rng.between(1, self.piece));
        if n > 0 {
            self.wire.borrow_mut().send(&self.script[self.sent..self.sent + n]);
            self.sent += n;
            self.next_send = now + self.pause.mul_f64(self.rng.below(1000) as f64 / 1000.0);
        }
        let mut wire = self.wire.borrow_mut();
        match self.ending {
            Ending::Resets(at) if self.sent == at => {
                wire.reset();
                self.said_end = true;
                self.silent = true;
            }
            Ending::FallsSilent(at) if self.sent == at => self.silent = true,
            Ending::HalfCloses if self.sent == self.script.len() => {
                wire.half_close();
                self.said_end = true;
            }
            Ending::WhenAnswered
                if self.answered == self.expected.len() && self.sent == self.script.len() =>
            {
                wire.half_close();
                self.said_end = true;
            }
            _ => {}
        }
    }

    pub(super) fn take_all(&mut self) {
        self.take(usize::MAX);
    }

    fn take(&mut self, most: usize) {
        let mut wire = self.wire.borrow_mut();
        wire.take(most, &mut self.got);
        let at_end = wire.at_end();
        drop(wire);
        while self.judge() {}
        if at_end && !self.said_end && !self.silent {
            self.wire.borrow_mut().half_close(); // the server says goodbye, so does the peer
            self.said_end = true;
        }
        self.saw_end = at_end;
    }

    /// Judges a piece of what came; false when more must come first.
    fn judge(&mut self) -> bool {
        match self.reading {
            Reading::Head => {
                let Some(end) = self.got.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return false;
                };
                let head: Vec<u8> = self.got.drain(..end + 4).collect();
                self.judge_head(std::str::from_utf8(&head).expect("a head is ASCII"));
                true
            }
            Reading::Body(at, len) => {
                let n = self.got.len().min((len - at) as usize);
                if let Some(Expect::Answer { id, kind, .. }) = self.expected.get(self.answered) {
                    for (place, octet) in self.got.iter().take(n).enumerate() {
                        let place = at + place as u64;
                        assert_eq!(
                            *octet,
                            kind.octet(*id, place),
                            "peer {}: octet {place} of {kind:?} {id}",
                            self.number
                        );
                    }
                }
                self.got.drain(..n);
                if at + n as u64 == len {
                    self.reading = Reading::Head;
                    self.answered += 1;
                } else {
                    self.reading = Reading::Body(at + n as u64, len);
                }
                n > 0
            }
        }
    }

    fn judge_head(&mut self, head: &str) {
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        let status: u16 = head.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().unwrap();
        if status == 100 {
            return;
        }
        let length: u64 = field("Content-Length").expect("a length").parse().unwrap();
        let number = self.number;
        let expected = self.expected.get(self.answered);
        let expected = *expected.unwrap_or_else(|| panic!("peer {number}: an answer to nothing: {head}"));
        let no_body = match expected {
            Expect::Answer { id, kind, head_only } => {
                if status == 408 {
                    // Too slow; the world knows whether that could be. Nothing comes after it.
                    self.expected.truncate(self.answered);
                    self.expected.push(Expect::Refusal(408));
                    false
                } else {
                    let asked = field("X-Asked").unwrap_or_default();
                    let asked = asked.split(' ').nth(1).unwrap_or_default();
                    assert_eq!(asked, id.to_string(), "peer {number}: somebody else's answer");
                    assert_eq!((status, length), (kind.status(), kind.len()), "peer {number}: {kind:?} {id}");
                    head_only
                }
            }
            Expect::Refusal(wanted) => {
                assert!(status == wanted || status == 408, "peer {number}: {status} and not {wanted}");
                false
            }
            Expect::Anything => {
                if let Some(asked) = field("X-Asked") {
                    // Chance may have bent the number asked for too; but it still is one that this peer has asked for.
                    let id: u64 = asked.split(' ').nth(1).unwrap().parse().unwrap();
                    let script = String::from_utf8_lossy(&self.script);
                    let mut numbers = script.split('/').map(|part| {
                        part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse()
                    });
                    let said = numbers.any(|said| said == Ok(id));
                    assert!(said, "peer {number}: somebody else's answer: {asked}");
                }
                // What follows an answer to who knows what is not judged.
                self.wire.borrow_mut().reset();
                self.silent = true;
                self.got.clear();
                true
            }
        };
        if no_body || length == 0 {
            self.answered += 1;
        } else {
            self.reading = Reading::Body(0, length);
        }
    }

    /// Whether it has got, or given up, all it was to get.
    pub(super) fn is_done(&self) -> bool {
        self.silent || self.saw_end
    }

    /// At the end of a world in which nobody had to hurry: every answer must be here.
    pub(super) fn assert_served(&self) {
        let number = self.number;
        if matches!(self.ending, Ending::Resets(_) | Ending::FallsSilent(_))
            || matches!(self.expected.last(), Some(Expect::Anything))
        {
            return;
        }
        assert!(!self.wire.borrow().destroyed(), "peer {number}: a reset destroyed an answer");
        let cut = matches!(
            self.expected.get(self.answered),
            Some(Expect::Answer { kind, .. }) if kind.available() < kind.len()
        );
        let answered = self.answered + usize::from(cut);
        assert_eq!(
            answered,
            self.expected.len(),
            "peer {number}: answers; {:?}, sent {} of {}, ending {:?}, expected {:?}",
            self.reading,
            self.sent,
            self.script.len(),
            self.ending,
            self.expected
        );
        if cut {
            let Some(Expect::Answer { kind, .. }) = self.expected.get(self.answered) else { unreachable!() };
            let came = if let Reading::Body(at, _) = self.reading { at } else { 0 };
            assert!(came <= kind.available(), "peer {number}: octets from nowhere");
        } else {
            assert!(matches!(self.reading, Reading::Head) && self.got.is_empty(), "peer {number}: too much");
        }
    }

    /// At the end of a world that was stopped or in a hurry: nothing half an answer, unless its disk failed.
    pub(super) fn assert_whole_answers(&self) {
        if self.silent || self.wire.borrow().destroyed() {
            return;
        }
        if let Reading::Body(at, len) = self.reading {
            let due = self.expected.get(self.answered);
            let fails = matches!(due, Some(Expect::Answer { kind, .. }) if kind.available() < kind.len());
            assert!(fails, "peer {}: {at} of {len} octets of {due:?}", self.number);
        }
    }
}
