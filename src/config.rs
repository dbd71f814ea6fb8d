//! What a server is told: plain data with defaults. Knows no clap.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::http::Limits;
use crate::idle::IdleStrategy;

/// The port of the chapter.
pub const PORT: u16 = 7890;

/// Everything but the content and the address.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the server finds out which client has data.
    pub model: Model,
    /// Whom the nonblocking loop tries in a sweep.
    pub sweep: Sweep,
    /// What the nonblocking loop does after an idle sweep.
    pub idle: IdleStrategy,
    /// What a client is held to.
    pub limits: Limits,
    /// Most clients at once. Beyond it nobody is accepted: newcomers wait in the kernel's queue. The nonblocking model
    /// lets the longest idle client go when somebody waits; the others wait until a client leaves. To be less than the
    /// limit of descriptors, or none is left for the files of those inside.
    pub max_connections: usize,
    /// How long answers in flight may take after the signal to stop.
    pub grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: Model::Nonblocking,
            sweep: Sweep::Hot,
            idle: IdleStrategy::default(),
            limits: Limits::default(),
            max_connections: 65_536,
            grace: Duration::from_secs(10),
        }
    }
}

/// The address served unless another is given: this machine only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// Whom a sweep tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sweep {
    /// Every client: the chapter's loop as taught.
    Full,
    /// The lately active every time, the quiet in slices.
    #[default]
    Hot,
}

impl std::fmt::Display for Sweep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Hot => "hot",
        })
    }
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "hot" => Ok(Self::Hot),
            _ => Err("expected full or hot".to_owned()),
        }
    }
}

/// How a server finds out which client has data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[expect(missing_docs, reason = "Model::explain says what each is")]
pub enum Model {
    #[default]
    Nonblocking,
    Blocking,
    Process,
    Thread,
    Coroutine,
    Select,
    Poll,
    Epoll,
    EpollEt,
}

impl Model {
    /// All of them, ours first, then in the order of the course.
    pub const ALL: [Self; 9] = [
        Self::Nonblocking,
        Self::Blocking,
        Self::Process,
        Self::Thread,
        Self::Coroutine,
        Self::Select,
        Self::Poll,
        Self::Epoll,
        Self::EpollEt,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nonblocking => "nonblocking",
            Self::Blocking => "blocking",
            Self::Process => "process",
            Self::Thread => "thread",
            Self::Coroutine => "coroutine",
            Self::Select => "select",
            Self::Poll => "poll",
            Self::Epoll => "epoll",
            Self::EpollEt => "epoll-et",
        }
    }

    /// One line on what it is and where it breaks.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Nonblocking => {
                "one thread tries every socket, again and again; burns what it does not sleep"
            }
            Self::Blocking => "one client at a time; a silent one holds everyone up until its idle timeout",
            Self::Process => {
                "a forked process for each client, 1024 at most; the dearest connection, the hardest walls"
            }
            Self::Thread => {
                "a thread for each client, 4096 at most; a stack each, and the scheduler does the waiting"
            }
            Self::Coroutine => {
                "an async fn for each client on one thread; reads like blocking, waits like epoll"
            }
            Self::Select => "asks select(2) who is ready; turns away whoever gets a descriptor above 1023",
            Self::Poll => "asks poll(2) who is ready; that looks at every client each time",
            Self::Epoll => {
                "is told by epoll(7) who is ready, again and again while they are (level triggered)"
            }
            Self::EpollEt => {
                "is told by epoll(7) once when someone becomes ready; must try until it would block (edge triggered)"
            }
        }
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|model| model.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|model| model.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}
