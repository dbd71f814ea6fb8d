//! `wouldblock [DIR]`: start-up, announcement, report.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use super::flags::{self, Guarding, Limiting, Listening, Logging, Looping, Presenting};
use super::values::Bind;
use super::{USAGE, install_logger, share};
use crate::access_log::AccessLog;
use crate::chapter::Chapter;
use crate::compare::counters::WithCounters;
use crate::config::{Config, DEFAULT_ADDRESS, Model};
use crate::live::{Board, Live, Monitor, Observer, Settings};
use crate::net::{Address, BindOptions, Listener, Tls, Worker};
use crate::privileges::{self, Descriptors};
use crate::report::{Report, Usage};
use crate::service::Service;
use crate::signals::Signals;
use crate::site::{AccountError, Auth, Site, SiteError};

type Content = Box<dyn Service + Send>;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder to serve; without it html/, the chapter
    #[arg(value_name = "DIR")]
    root: Option<PathBuf>,

    /// Serve the chapter that this program carries, where there is no html/
    #[arg(long, conflicts_with_all = ["root", "Presenting"], help_heading = "Content")]
    chapter: bool,

    /// Let pages served here look at the loop and change it, from this machine only (the chapter may anyway), and
    /// answer /_loop/metrics and /_loop/health to other machines too
    #[arg(long, help_heading = "Content")]
    live: bool,

    /// Answer /_counters with what the loop has counted
    #[arg(long, hide = true)]
    counters: bool,

    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    presenting: Presenting,
    #[command(flatten)]
    guarding: Guarding,
    #[command(flatten)]
    limiting: Limiting,
    #[command(flatten)]
    logging: Logging,
    #[command(flatten)]
    looping: Looping,
}

/// Why serving did not begin or did not go on, in one line.
enum Failure {
    /// What was asked for makes no sense.
    Usage(String),
    /// It makes sense, but cannot be done here.
    Refused(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Refused(error.to_string())
    }
}

fn site_failure(error: &SiteError) -> Failure {
    match error {
        SiteError::Root(..) | SiteError::NotADirectory(_) => Failure::Refused(error.to_string()),
        _ => Failure::Usage(error.to_string()),
    }
}

fn account_failure(error: &AccountError) -> Failure {
    match error {
        AccountError::File(..) | AccountError::Empty(_) | AccountError::Line(..) => {
            Failure::Refused(error.to_string())
        }
        _ => Failure::Usage(error.to_string()),
    }
}

impl Args {
    pub(super) fn run(self) -> ExitCode {
        install_logger(self.logging.verbose);
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Usage(error)) => {
                eprintln!("wouldblock: {error}; see wouldblock --help");
                ExitCode::from(USAGE)
            }
            Err(Failure::Refused(error)) => {
                eprintln!("wouldblock: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn serve(self) -> Result<(), Failure> {
        let mut config = flags::config(&self.limiting, &self.looping);
        let accounts = self.guarding.accounts().map_err(|error| account_failure(&error))?;
        let descriptors = Descriptors::raise(self.presenting.handles());
        let content: Content = if self.chapter {
            Box::new(Chapter::new())
        } else {
            let mut options = self.presenting.options(self.root());
            options.cache.handles = descriptors.files;
            options.watch = config.model != Model::Process;
            Box::new(Site::open(options).map_err(|error| site_failure(&error))?)
        };
        let listener = self.listen()?;
        let addresses = listener.addresses();
        let tls = self.listening.tls_cert.is_some();
        let network = share::network_url(&addresses, tls);
        if self.listening.qr && network.is_none() {
            return Err(Failure::Usage(
                "--qr has no address to show that a telephone could reach: add -b 0.0.0.0".to_owned(),
            ));
        }
        let signals = Signals::install()?;
        let log = self.access_log()?;
        self.give_up_root(network.is_some())?;
        let (start, before) = (Instant::now(), Usage::now());
        let content = if self.is_monitored(&addresses) {
            // Clients in processes and threads of their own have counters of their own.
            let counts = !matches!(config.model, Model::Process | Model::Thread);
            Box::new(Monitor::new(content, config.model.name(), start, self.live, counts))
        } else {
            content
        };
        let (content, observer) = if self.is_live(config.model) {
            let (content, observer) = make_live(content, &addresses, &config, start);
            (content, Some(observer))
        } else {
            (content, None)
        };
        let content = if self.counters { Box::new(WithCounters(content)) } else { content };
        // Outermost: what is behind a password is everything.
        let content = Box::new(Auth::new(content, accounts));
        let mut worker = Worker::new(content, config.limits.clone(), log);
        worker.observer = observer;

        self.limit_clients(&mut config, descriptors);
        self.announce(&config, &addresses, network.as_deref());
        let stats = crate::server::serve(listener, worker, &config, &signals)?;
        let report = Report::new(config.model, stats, start.elapsed(), &before);
        eprintln!("{report}");
        if let Some(path) = &self.logging.report_json {
            std::fs::write(path, serde_json::to_string_pretty(&report)?).map_err(|error| {
                Failure::Refused(format!("cannot write the report to {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or_else(|| Path::new("html"))
    }

    /// Whether pages may look at the loop. Only the nonblocking model has one to look at.
    fn is_live(&self, model: Model) -> bool {
        model == Model::Nonblocking && (self.live || self.root.is_none())
    }

    /// Whether `/_loop/metrics` and `/_loop/health` are answered: where only this machine can come in, or if asked for.
    fn is_monitored(&self, addresses: &[Address]) -> bool {
        let is_local = |address: &Address| match address {
            Address::Ip(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        };
        self.live || addresses.iter().all(is_local)
    }

    /// Opens every door: those handed over, those asked for, and if there are neither, the usual one.
    fn listen(&self) -> Result<Listener, Failure> {
        let flags = &self.listening;
        let mut listener = Listener::default();
        adopt(&mut listener)?;
        let mut doors = flags.bind.clone();
        if doors.is_empty() && (listener.is_empty() || flags.port.is_some()) {
            doors.push(Bind::Ip(DEFAULT_ADDRESS.ip(), None));
        }
        let addresses: Vec<_> = doors.iter().map(|door| door.address(flags.port())).collect();
        for (door, address) in doors.iter().zip(&addresses) {
            let only_v6 = address.is_beside_ipv4(&addresses);
            listener
                .add(address, &BindOptions { reuse_port: flags.reuse_port, only_v6, mode: door.mode() })?;
        }
        if let (Some(certificates), Some(key)) = (&flags.tls_cert, &flags.tls_key) {
            listener.set_tls(Tls::load(certificates, key)?);
        }
        Ok(listener)
    }

    fn access_log(&self) -> Result<AccessLog, Failure> {
        let log = match &self.logging.log_file {
            _ if self.logging.quiet => return Ok(AccessLog::off()),
            None => AccessLog::stdout()?,
            Some(path) => AccessLog::open(path).map_err(|error| {
                Failure::Refused(format!("cannot open the access log {}: {error}", path.display()))
            })?,
        };
        Ok(log.with_format(self.logging.log_format))
    }

    /// Root's rights are needed to bind low ports and to read keys, not to serve.
    fn give_up_root(&self, reachable: bool) -> Result<(), Failure> {
        match &self.listening.user {
            Some(name) => privileges::become_user(name).map_err(Failure::Refused),
            None => {
                if reachable && privileges::is_root() {
                    log::warn!("root serves the network; --user NAME gives root's rights up after start-up");
                }
                Ok(())
            }
        }
    }

    /// Lets no more clients in than there are descriptors for. A client of process has one in a child's table.
    fn limit_clients(&self, config: &mut Config, descriptors: Descriptors) {
        let most = descriptors.clients();
        if config.model == Model::Process || config.max_connections <= most {
            return;
        }
        config.max_connections = most;
        log::log!(
            if self.limiting.max_connections.is_some() { log::Level::Warn } else { log::Level::Info },
            "no more than {most} clients at once: the limit is {} descriptors, and files need some (ulimit -n raises it)",
            descriptors.limit
        );
    }

    /// Says where, what and how. On standard error: standard output belongs to the access log.
    fn announce(&self, config: &Config, addresses: &[Address], network: Option<&str>) {
        let tls = self.listening.tls_cert.is_some();
        let root = self.root().canonicalize().unwrap_or_else(|_| self.root().to_owned());
        let what = if self.chapter { "the chapter".into() } else { root.display().to_string() };
        let urls: Vec<_> = addresses.iter().map(|address| share::url(address, tls)).collect();
        for url in &urls {
            eprintln!("serving {what} on {url}");
        }
        match config.model {
            Model::Nonblocking => {
                eprintln!("sweep {}, idle {}: {}", config.sweep, config.idle, config.idle.explain());
            }
            model => eprintln!("model {model}: {}", model.explain()),
        }
        match network {
            Some(url) if urls.iter().any(|known| known == url) => {}
            Some(url) => eprintln!("the network can see it on {url}"),
            None => eprintln!("only this machine can see it; -b 0.0.0.0 shares it with the network"),
        }
        if let Some(url) = network.filter(|_| self.listening.qr) {
            match share::qr_code(url) {
                Ok(code) => eprint!("{code}"),
                Err(error) => log::warn!("no QR code for {url}: {error}"),
            }
        }
        if self.listening.open
            && let Some(url) = urls.iter().find(|url| url.starts_with("http"))
        {
            share::open_browser(url);
        }
        if std::io::stderr().is_terminal() {
            eprintln!("Ctrl-C stops it");
        }
    }
}

/// Puts the loop's board before the content, and gives the loop's end of it.
fn make_live(content: Content, addresses: &[Address], config: &Config, now: Instant) -> (Content, Observer) {
    let board = Board::new(now, Settings { idle: config.idle, sweep: config.sweep, read_limit: None });
    let address = addresses.iter().find_map(|address| match address {
        Address::Ip(address) => Some(*address),
        Address::Unix(_) => None,
    });
    let observer = Observer::new(board.clone(), address, now);
    (Box::new(Live::new(content, board, config.model.name())), observer)
}

/// Takes over the sockets that whoever started us has opened (sd_listen_fds(3)).
fn adopt(listener: &mut Listener) -> Result<(), Failure> {
    let mut handed = listenfd::ListenFd::from_env();
    for at in 0..handed.len() {
        if let Ok(Some(socket)) = handed.take_tcp_listener(at) {
            listener.adopt_tcp(socket)?;
        } else if let Ok(Some(socket)) = handed.take_unix_listener(at) {
            listener.adopt_unix(socket)?;
        } else {
            return Err(Failure::Refused(format!(
                "descriptor {} of LISTEN_FDS is not a listening stream socket",
                at + 3
            )));
        }
    }
    Ok(())
}
