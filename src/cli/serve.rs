//! `wouldblock [DIR]`: flags, start-up, report.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::access_log::AccessLog;
use crate::chapter::Chapter;
use crate::compare::counters::WithCounters;
use crate::config::{Config, DEFAULT_ADDRESS, Model, PORT, Sweep};
use crate::idle::IdleStrategy;
use crate::live::{Board, Live, Observer, Settings};
use crate::net::{Address, Listener, Worker};
use crate::report::Report;
use crate::service::Service;
use crate::signals::Signals;
use crate::site::{Options, Site};

type Content = Box<dyn Service + Send>;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder to serve; without it html/, the chapter
    #[arg(value_name = "DIR")]
    root: Option<PathBuf>,

    /// Serve the chapter that this program carries, where there is no html/
    #[arg(long, conflicts_with = "root")]
    chapter: bool,

    /// Let pages served here look at the loop and change it, from this machine only; the chapter may anyway
    #[arg(long)]
    live: bool,

    /// The port; 0 lets the system choose one
    #[arg(short, long, default_value_t = PORT)]
    port: u16,

    /// The address; 0.0.0.0 or :: shares the folder with the network
    #[arg(short, long, visible_alias = "host", value_name = "ADDR", default_value_t = DEFAULT_ADDRESS.ip())]
    bind: IpAddr,

    /// How the server finds out which client has data
    #[arg(long, default_value_t, value_name = "MODEL")]
    model: Model,

    /// What the loop does after a sweep without work: spin, yield, sleep:1ms, backoff, park
    #[arg(long, default_value_t, value_name = "STRATEGY")]
    idle: IdleStrategy,

    /// Whom a sweep tries: full (everyone) or hot (the lately active, and the quiet in slices)
    #[arg(long, default_value_t, value_name = "WAY")]
    sweep: Sweep,

    /// No access log
    #[arg(short, long)]
    quiet: bool,

    /// More diagnostics on standard error; again for more still
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// At the end, also write the report as JSON to this file
    #[arg(long, value_name = "FILE", hide = true)]
    report_json: Option<PathBuf>,

    /// Answer /_counters with what the loop has counted
    #[arg(long, hide = true)]
    counters: bool,
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        let level = match self.verbose {
            0 => log::LevelFilter::Warn,
            1 => log::LevelFilter::Info,
            2 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        };
        if let Err(error) = simple_logger::SimpleLogger::new().with_level(level).init() {
            eprintln!("wouldblock: no diagnostics: {error}");
        }
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wouldblock: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn serve(self) -> Result<(), Box<dyn std::error::Error>> {
        let config = Config { model: self.model, sweep: self.sweep, idle: self.idle, ..Config::default() };
        let content: Content = if self.chapter {
            Box::new(Chapter::new())
        } else {
            Box::new(Site::open(Options::new(self.root()))?)
        };
        let listener = Listener::bind(&[Address::Ip(SocketAddr::new(self.bind, self.port))])?;
        let signals = Signals::install()?;
        raise_descriptor_limit();
        let log = if self.quiet { AccessLog::off() } else { AccessLog::stdout()? };
        let start = Instant::now();
        let (content, observer) = if self.is_live() {
            let (content, observer) = make_live(content, &listener, &config, start);
            (content, Some(observer))
        } else {
            (content, None)
        };
        let content = if self.counters { Box::new(WithCounters(content)) } else { content };
        let mut worker = Worker::new(content, config.limits.clone(), log);
        worker.observer = observer;

        self.announce(&listener);
        let stats = crate::server::serve(listener, worker, &config, &signals)?;
        let report = Report::new(config.model, stats, start.elapsed());
        eprintln!("{report}");
        if let Some(path) = &self.report_json {
            std::fs::write(path, serde_json::to_string_pretty(&report)?)
                .map_err(|error| format!("cannot write the report to {}: {error}", path.display()))?;
        }
        Ok(())
    }

    fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or_else(|| Path::new("html"))
    }

    /// Whether pages may look at the loop. Only the nonblocking model has one to look at.
    fn is_live(&self) -> bool {
        self.model == Model::Nonblocking && (self.live || self.root.is_none())
    }

    /// Says where, what and how. On standard error: standard output belongs to the access log.
    fn announce(&self, listener: &Listener) {
        let root = self.root();
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        for address in listener.addresses() {
            let what = if self.chapter { "the chapter".into() } else { root.display().to_string() };
            eprintln!("serving {what} on {}", url(&address));
        }
        match self.model {
            Model::Nonblocking => {
                eprintln!("sweep {}, idle {}: {}", self.sweep, self.idle, self.idle.explain());
            }
            model => eprintln!("model {model}: {}", model.explain()),
        }
        if self.bind.is_loopback() {
            eprintln!("only this machine can see it; -b 0.0.0.0 shares it with the network");
        }
        if std::io::stderr().is_terminal() {
            eprintln!("Ctrl-C stops it");
        }
    }
}

/// Puts the loop's board before the content, and gives the loop's end of it.
fn make_live(content: Content, listener: &Listener, config: &Config, now: Instant) -> (Content, Observer) {
    let board = Board::new(now, Settings { idle: config.idle, sweep: config.sweep, read_limit: None });
    let address = listener.addresses().into_iter().find_map(|address| match address {
        Address::Ip(address) => Some(address),
        Address::Unix(_) => None,
    });
    let observer = Observer::new(board.clone(), address, now);
    (Box::new(Live::new(content, board, config.model.name())), observer)
}

/// What a browser is to be given. An unspecified address is no destination: this machine is.
fn url(address: &Address) -> String {
    match address {
        Address::Ip(address) if address.ip().is_unspecified() => {
            format!("http://localhost:{}/", address.port())
        }
        Address::Ip(address) => format!("http://{address}/"),
        Address::Unix(_) => address.to_string(),
    }
}

/// A server needs a descriptor for each client: takes as many as the system allows without asking for privilege.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::debug!("the limit of descriptors stays at {soft}: {error}");
    }
}
