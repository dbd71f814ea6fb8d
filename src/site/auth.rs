//! Passwords (RFC 7617, Basic) before another service.
//!
//! A good password hash takes a tenth of a second on purpose, and one thread serves everyone: so hashes are
//! checked by a helper thread, and the answer *would block* meanwhile ([`Service::respond`] gives `None` and is
//! asked again). Its verdict is kept under a keyed fingerprint of the credentials, so that it is needed once per
//! password and not once per request.
//!
//! The helper's queue is short. Who floods it with wrong passwords makes others wait at sign-in, who then get
//! 503; those who are known already notice nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::accounts::{Accounts, Secret};
use crate::http::{Headers, Method, Request, Status};
use crate::service::{Context, Response, Service};

/// Passwords that may wait for the helper. At 0.1 s each, the last waits about two seconds.
const QUEUE: usize = 16;
/// Verdicts that are kept. Each is a few dozen octets.
const VERDICTS_MAX: usize = 1024;
/// How long a wrong password is remembered as wrong: long enough that asking again costs the asker more than us.
const WRONG_FOR: Duration = Duration::from_secs(5);

/// A service behind a password. Without accounts, it is that service.
pub struct Auth<S> {
    service: S,
    guard: Option<Guard>,
}

impl<S: Service> Auth<S> {
    /// Lets in those who are in `accounts`; `None` lets everyone in. Empty accounts let nobody in.
    pub fn new(service: S, accounts: Option<Accounts>) -> Self {
        Self { service, guard: accounts.map(Guard::new) }
    }

    /// The service behind it.
    pub const fn inner(&self) -> &S {
        &self.service
    }
}

impl<S: Service> Service for Auth<S> {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let Some(guard) = &mut self.guard else { return self.service.respond(request, context) };
        // OPTIONS shows nothing of the content, and a preflight never carries credentials (Fetch §4.8).
        if request.method == Method::Options {
            return self.service.respond(request, context);
        }
        match guard.judge(request.headers, context.now) {
            Verdict::Right => self.service.respond(request, context),
            Verdict::Wrong => {
                let page =
                    self.service.refuse(Status::UNAUTHORIZED, "A name and a password are needed here.");
                Some(with_field(page, "WWW-Authenticate: Basic realm=\"files\", charset=\"UTF-8\"\r\n"))
            }
            Verdict::Pending => None,
            Verdict::Busy => {
                let why = "Too many passwords are being checked at the moment. Try again.";
                Some(with_field(self.service.refuse(Status::SERVICE_UNAVAILABLE, why), "Retry-After: 2\r\n"))
            }
        }
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        self.service.refuse(status, why)
    }
}

fn with_field(response: Response, line: &str) -> Response {
    let mut fields = response.fields.to_vec();
    fields.extend_from_slice(line.as_bytes());
    Response { fields: fields.into(), ..response }
}

/// What is known of some credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Right,
    Wrong,
    /// The helper is at it.
    Pending,
    /// The helper has too much to do.
    Busy,
}

struct Guard {
    accounts: Accounts,
    /// Someone's slow hash, for names that do not exist: the time until the answer does not tell which do.
    decoy: Option<Secret>,
    keys: [RandomState; 2],
    right: HashSet<Fingerprint>,
    wrong: HashMap<Fingerprint, Instant>,
    pending: HashSet<Fingerprint>,
    helper: Option<Helper>,
}

/// 128 bits of a keyed hash (SipHash twice): nobody can find credentials that share one, for nobody sees the
/// keys, and comparing fingerprints tells nothing about the passwords.
type Fingerprint = (u64, u64);

impl Guard {
    fn new(accounts: Accounts) -> Self {
        let decoy = accounts.users.values().find(|secret| secret.is_slow()).cloned();
        Self {
            accounts,
            decoy,
            keys: [RandomState::new(), RandomState::new()],
            right: HashSet::new(),
            wrong: HashMap::new(),
            pending: HashSet::new(),
            helper: None,
        }
    }

    fn judge(&mut self, headers: Headers<'_>, now: Instant) -> Verdict {
        let Some(credentials) = headers.get("authorization").and_then(strip_scheme) else {
            return Verdict::Wrong;
        };
        let [one, other] = &self.keys;
        let fingerprint = (one.hash_one(credentials), other.hash_one(credentials));
        if self.right.contains(&fingerprint) {
            return Verdict::Right;
        }
        self.collect(now);
        if self.right.contains(&fingerprint) {
            return Verdict::Right;
        }
        if self.pending.contains(&fingerprint) {
            return Verdict::Pending;
        }
        if self.wrong.get(&fingerprint).is_some_and(|until| now < *until) {
            return Verdict::Wrong;
        }
        let Ok(decoded) = STANDARD.decode(credentials) else { return Verdict::Wrong };
        let Some(colon) = decoded.iter().position(|&octet| octet == b':') else { return Verdict::Wrong };
        let (user, password) = decoded.split_at(colon);
        let password = password.get(1..).unwrap_or_default();
        let account = std::str::from_utf8(user).ok().and_then(|user| self.accounts.users.get(user));
        match account {
            Some(secret) if !secret.is_slow() => {
                let right = secret.verify(password);
                self.note(fingerprint, right, now);
                if right { Verdict::Right } else { Verdict::Wrong }
            }
            Some(secret) => {
                let job =
                    Job { fingerprint, secret: secret.clone(), password: password.to_vec(), decoy: false };
                self.ask(job)
            }
            None => match &self.decoy {
                Some(secret) => {
                    let job =
                        Job { fingerprint, secret: secret.clone(), password: password.to_vec(), decoy: true };
                    self.ask(job)
                }
                None => Verdict::Wrong,
            },
        }
    }

    fn ask(&mut self, job: Job) -> Verdict {
        if self.helper.is_none() {
            self.helper = Helper::start();
        }
        let Some(helper) = &self.helper else { return Verdict::Busy };
        let fingerprint = job.fingerprint;
        match helper.jobs.try_send(job) {
            Ok(()) => {
                self.pending.insert(fingerprint);
                Verdict::Pending
            }
            Err(TrySendError::Full(_)) => Verdict::Busy,
            Err(TrySendError::Disconnected(_)) => {
                self.helper = None;
                self.pending.clear();
                Verdict::Busy
            }
        }
    }

    /// Takes in what the helper has found out.
    fn collect(&mut self, now: Instant) {
        while !self.pending.is_empty() {
            let Some(helper) = &self.helper else { return };
            match helper.verdicts.try_recv() {
                Ok((fingerprint, right)) => {
                    self.pending.remove(&fingerprint);
                    self.note(fingerprint, right, now);
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // It died of what it was given: whoever waits is asked again, by a new one.
                    log::error!("the thread that checks passwords has ended; starting another");
                    self.helper = None;
                    self.pending.clear();
                }
            }
        }
    }

    fn note(&mut self, fingerprint: Fingerprint, right: bool, now: Instant) {
        if right {
            // Only who knows a password gets in here, so it can only be full of one user's spellings.
            if self.right.len() >= VERDICTS_MAX {
                self.right.clear();
            }
            self.right.insert(fingerprint);
            return;
        }
        if self.wrong.len() >= VERDICTS_MAX {
            self.wrong.retain(|_, until| now < *until);
        }
        if self.wrong.len() >= VERDICTS_MAX {
            self.wrong.clear();
        }
        self.wrong.insert(fingerprint, now + WRONG_FOR);
    }
}

/// `Basic` in any case, one or more spaces, and the rest (RFC 9110 §11.4).
fn strip_scheme(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Basic ".len())?;
    scheme.eq_ignore_ascii_case(b"Basic ").then_some(rest.trim_ascii())
}

struct Job {
    fingerprint: Fingerprint,
    secret: Secret,
    password: Vec<u8>,
    /// The name does not exist; whatever comes out, the answer is no.
    decoy: bool,
}

/// The helper thread. Started at the first password that needs it, so that it exists in the process that serves
/// and not in the one that forked it. Ends when the guard is dropped.
struct Helper {
    jobs: SyncSender<Job>,
    verdicts: Receiver<(Fingerprint, bool)>,
}

impl Helper {
    fn start() -> Option<Self> {
        let (jobs, work) = sync_channel::<Job>(QUEUE);
        let (results, verdicts) = channel();
        let thread = std::thread::Builder::new().name("passwords".to_owned()).spawn(move || {
            for job in work {
                let right = job.secret.verify(&job.password) && !job.decoy;
                if results.send((job.fingerprint, right)).is_err() {
                    return;
                }
            }
        });
        match thread {
            Ok(_) => Some(Self { jobs, verdicts }),
            Err(error) => {
                log::error!("cannot start the thread that checks passwords: {error}");
                None
            }
        }
    }
}
