//! The flags of `wouldblock [DIR]`, in the groups that --help shows. Each can be set in the environment too, which is
//! seen to in one place: see [`super::command`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::values::{Bind, parse_limit, parse_mime, parse_room, parse_size};
use crate::access_log::LogFormat;
use crate::config::{Config, Model, PORT, Sweep};
use crate::http::{HEADERS_MAX, Limits};
use crate::idle::{IdleStrategy, parse_duration};
use crate::site::{AccountError, Accounts, CacheLimits, Options};

/// Which files, and how they are presented.
#[derive(clap::Args)]
#[command(next_help_heading = "Content")]
pub(super) struct Presenting {
    /// What a folder answers with, if it is there; may be repeated, the first that exists counts [default: index.html]
    #[arg(long, value_name = "NAME", value_delimiter = ';')]
    index: Vec<String>,

    /// Answer addresses that do not exist with the index of DIR, for programs that route in the browser
    #[arg(long)]
    spa: bool,

    /// Do not list folders that have no index: 404
    #[arg(long)]
    no_listing: bool,

    /// Serve names that begin with a dot as well; /.well-known/ always is
    #[arg(long)]
    hidden: bool,

    /// Follow symbolic links that lead out of DIR; those that stay inside always are
    #[arg(long)]
    follow_symlinks: bool,

    /// Do not send NAME.br, NAME.zst or NAME.gz in place of NAME
    #[arg(long)]
    no_precompressed: bool,

    /// Compress text for clients that accept it, once per version of a file, into the cache
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = parse_switch, action = clap::ArgAction::Set)]
    compress: bool,

    /// A header field for every answer but those of /_loop/; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// Let scripts of other sites read what is served: of any, or of this one
    #[arg(long, value_name = "ORIGIN", num_args = 0..=1, require_equals = true, default_missing_value = "*")]
    cors: Option<String>,

    /// Cache-Control of files; without it caches ask again, and are told when nothing changed
    #[arg(long, value_name = "VALUE")]
    cache_control: Option<String>,

    /// The media type of an extension; may be repeated
    #[arg(long, value_name = "EXT=TYPE", value_delimiter = ';', value_parser = parse_mime)]
    mime: Vec<(String, String)>,

    /// Memory for contents, names and fields of files; 0 turns the cache off
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    cache_memory: u64,

    /// The largest file that is kept in memory; larger ones are kept open
    #[arg(long, value_name = "SIZE", default_value = "64k", value_parser = parse_size)]
    cache_file_size: u64,

    /// Most files in the cache
    #[arg(long, value_name = "COUNT", default_value_t = CacheLimits::default().entries)]
    cache_files: usize,

    /// Most files kept open, up to an eighth of the limit of descriptors
    #[arg(long, value_name = "COUNT", default_value_t = CacheLimits::default().handles)]
    cache_handles: usize,
}

impl Presenting {
    /// How many files are to be kept open at most.
    pub(super) const fn handles(&self) -> usize {
        self.cache_handles
    }

    pub(super) fn options(&self, root: &Path) -> Options {
        let mut options = Options::new(root);
        if !self.index.is_empty() {
            options.index.clone_from(&self.index);
        }
        options.spa = self.spa;
        options.listing = !self.no_listing;
        options.hidden = self.hidden;
        options.follow_symlinks = self.follow_symlinks;
        options.precompressed = !self.no_precompressed;
        options.compress = self.compress;
        options.headers.clone_from(&self.header);
        options.cors.clone_from(&self.cors);
        options.cache_control.clone_from(&self.cache_control);
        options.mime.clone_from(&self.mime);
        options.cache = CacheLimits {
            memory_bytes: usize::try_from(self.cache_memory).unwrap_or(usize::MAX),
            file_bytes: usize::try_from(self.cache_file_size).unwrap_or(usize::MAX),
            entries: self.cache_files,
            handles: self.cache_handles,
        };
        options
    }
}

/// Who may see them.
#[derive(clap::Args)]
#[command(next_help_heading = "Content")]
pub(super) struct Guarding {
    /// Ask for this name and password (or bcrypt or argon2 hash); may be repeated. Everyone on this machine can read
    /// it in the list of processes: WOULDBLOCK_AUTH and --auth-file are safer
    #[arg(long, value_name = "USER:PASS", hide_env_values = true)]
    auth: Vec<String>,

    /// The same from a file, a line each, as htpasswd -B writes it
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

impl Guarding {
    /// Who may come in; `None` if everyone may.
    pub(super) fn accounts(&self) -> Result<Option<Accounts>, AccountError> {
        if self.auth.is_empty() && self.auth_file.is_none() {
            return Ok(None);
        }
        let mut accounts = Accounts::new();
        for line in &self.auth {
            accounts.add(line)?;
        }
        if let Some(path) = &self.auth_file {
            accounts.add_file(path)?;
        }
        Ok(Some(accounts))
    }
}

/// Where the server listens.
#[derive(clap::Args)]
#[command(next_help_heading = "Listening")]
pub(super) struct Listening {
    /// The port of addresses that have none of their own; 0 lets the system choose one [default: 7890]
    #[arg(short, long)]
    pub(super) port: Option<u16>,

    /// Where to listen: 0.0.0.0 or :: shares DIR with the network, ADDR:PORT has a port of its own, and
    /// unix:PATH[,mode=0660] is a Unix socket. May be repeated. Sockets handed over by systemd (LISTEN_FDS) are used
    /// besides, and without -b and -p instead [default: 127.0.0.1]
    #[arg(short, long, visible_alias = "host", value_name = "ADDR", value_delimiter = ';')]
    pub(super) bind: Vec<Bind>,

    /// Share the port with other processes that say so too: one for each core, and the kernel deals newcomers out
    #[arg(long)]
    pub(super) reuse_port: bool,

    /// Speak TLS on TCP sockets, with this certificate chain (PEM). Read again on SIGHUP; clients that are connected
    /// keep the old one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,

    /// Started by root: become this user once addresses, log, certificates and DIR are open. What SIGHUP opens again
    /// must be open to that user
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,

    /// Open the address in a browser
    #[arg(short, long)]
    pub(super) open: bool,

    /// Show the address in the network as a QR code, for telephones
    #[arg(long)]
    pub(super) qr: bool,
}

impl Listening {
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(PORT)
    }
}

/// What clients are held to.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Limiting {
    /// From the first byte of a request to the end of its head, and for a TLS handshake; dribbling does not extend it
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_limit)]
    header_timeout: Duration,

    /// How long a connection may be idle between requests
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_limit)]
    idle_timeout: Duration,

    /// How long an answer may wait for the client to take --min-rate times this long of it. What counts is what has
    /// arrived at the client, not what the kernel here keeps for it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_limit)]
    write_timeout: Duration,

    /// Bytes a second that a client must take, or send of a request's body
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = parse_size)]
    min_rate: u64,

    /// Most clients at once, as far as the limit of descriptors goes (ulimit -n, less some for files); beyond them
    /// newcomers wait in the kernel's queue. The model nonblocking makes room for them: the client that has been idle
    /// longest, a second at least, leaves [default: 65536]
    #[arg(long, value_name = "COUNT", value_parser = parse_count)]
    pub(super) max_connections: Option<usize>,

    /// The longest request target; beyond it 414
    #[arg(long, value_name = "SIZE", default_value = "8k", value_parser = parse_room)]
    max_target_size: u64,

    /// The longest head of a request; beyond it 431
    #[arg(long, value_name = "SIZE", default_value = "16k", value_parser = parse_room)]
    max_header_size: u64,

    /// Most header fields of a request, up to 128; beyond it 431
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().header_count as u64,
        value_parser = clap::value_parser!(u64).range(1..=HEADERS_MAX as u64))]
    max_headers: u64,

    /// The longest request body that is read past; beyond it 413
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = parse_size)]
    max_body_size: u64,

    /// How long answers on their way may take after the signal to stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    grace: Duration,
}

impl Limiting {
    fn limits(&self) -> Limits {
        let size = |size| usize::try_from(size).unwrap_or(usize::MAX);
        Limits {
            target_bytes: size(self.max_target_size),
            head_bytes: size(self.max_header_size),
            header_count: size(self.max_headers),
            body_bytes: self.max_body_size,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            write_timeout: self.write_timeout,
            min_rate: self.min_rate,
            ..Limits::default()
        }
    }
}

/// The loop.
#[derive(clap::Args)]
#[command(next_help_heading = "The loop")]
pub(super) struct Looping {
    /// How the server finds out which client has data
    #[arg(long, default_value_t, value_name = "MODEL")]
    model: Model,

    /// What the loop does after a sweep without work: spin, yield, sleep:1ms, backoff, park
    #[arg(long, default_value_t, value_name = "STRATEGY")]
    idle: IdleStrategy,

    /// Whom a sweep tries: full (everyone) or hot (the lately active, and the quiet in slices)
    #[arg(long, default_value_t, value_name = "WAY")]
    sweep: Sweep,
}

/// What is written down.
#[derive(clap::Args)]
#[command(next_help_heading = "Logs")]
pub(super) struct Logging {
    /// No access log
    #[arg(short, long, conflicts_with_all = ["log_file", "log_format"])]
    pub(super) quiet: bool,

    /// The shape of the access log's lines: combined, clf or json
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub(super) log_format: LogFormat,

    /// Append the access log to this file, and open it again on SIGHUP; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,

    /// More diagnostics on standard error; again for more still
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,

    /// At the end, also write the report as JSON to this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) report_json: Option<PathBuf>,
}

/// The library's configuration, from the groups that have a say in it.
pub(super) fn config(limiting: &Limiting, looping: &Looping) -> Config {
    Config {
        model: looping.model,
        sweep: looping.sweep,
        idle: looping.idle,
        limits: limiting.limits(),
        max_connections: limiting.max_connections.unwrap_or_else(|| Config::default().max_connections),
        grace: limiting.grace,
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is not a number above 0"))
}
