//! THE CONTENT: the only files that touch the disk.
//!
//! [`Site`] answers a request for a path with a file beneath a folder. The way of a request through the files
//! here:
//!
//! ```text
//!  path         "/%61/?x" → "a/", checked, decoded once
//!  cache        is it known?          entry: and still what is on the disk?      watch: was a change told?
//!  root         opened beneath the folder; links, FIFOs and permissions judged
//!  source       read or opened, tagged        mime: what it is
//!  negotiation  which coding       conditional: is it needed?      range: all of it?
//! ```
//!
//! What must not live here: sockets, connections, framing. Nothing here waits: the disk is asked for bounded
//! pieces, and a large file is handed on as an open handle.

// No octet from the network, and no file, may end the server.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice,
        clippy::get_unwrap
    )
)]

mod absent;
mod accounts;
mod auth;
mod cache;
mod conditional;
mod config;
mod entry;
mod listing;
mod mime;
mod negotiation;
mod options;
mod pages;
mod path;
mod range;
mod representation;
mod root;
mod source;
mod watch;

use std::path::Path;

use cache::Cache;
use config::Config;
use entry::Entry;
use negotiation::Accepted;
use path::PathError;
use range::Selection;
use root::{Fault, Kind, Root};
use watch::Watch;

pub use accounts::{AccountError, Accounts};
pub use auth::Auth;
pub use options::{CacheLimits, Options, SiteError};

use crate::http::{Headers, Method, Request, Status, Target};
use crate::service::{Content, Context, Response, Service};

/// What every file here has, and nothing else does.
const ALLOW: &str = "Allow: GET, HEAD, OPTIONS\r\n";

/// A folder, served.
pub struct Site {
    root: Root,
    watch: Watch,
    config: Config,
    cache: Cache<Entry>,
    /// Room for the decoded path, lent to each request.
    name: Vec<u8>,
    /// The second in which a failing disk was last complained about.
    complained: u64,
}

impl Site {
    /// Opens the folder and checks the options. Reads no file yet.
    pub fn open(options: Options) -> Result<Self, SiteError> {
        let config = Config::new(options)?;
        let path = &config.options.root;
        match path.metadata() {
            Ok(metadata) if !metadata.is_dir() => return Err(SiteError::NotADirectory(path.clone())),
            Ok(_) => {}
            Err(error) => return Err(SiteError::Root(path.clone(), error)),
        }
        let root = Root::open(path, config.options.follow_symlinks)
            .map_err(|error| SiteError::Root(path.clone(), error))?;
        let cache = Cache::new(config.options.cache);
        let watch = Watch::new(config.options.watch);
        Ok(Self { root, watch, config, cache, name: Vec::new(), complained: 0 })
    }

    /// The real path of the folder that is served, as it was when it was opened.
    pub fn path(&self) -> &Path {
        self.root.path()
    }
}

impl Service for Site {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        Some(match (request.method, request.target) {
            (Method::Get | Method::Head, Target::Origin { path, query }) => {
                self.get(path, query, request, context)
            }
            (Method::Options, _) => self.options(request.headers),
            (Method::Known(_), _) => {
                let why = "Files can be read here (GET, HEAD), and nothing else.";
                pages::error(&self.config, Status::METHOD_NOT_ALLOWED, why, ALLOW)
            }
            (Method::Unknown(_), _) => self.refuse(Status::NOT_IMPLEMENTED, "This method is not known here."),
            (_, Target::Asterisk | Target::Authority(_)) => {
                self.refuse(Status::BAD_REQUEST, "This target is no address of a file.")
            }
        })
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        pages::error(&self.config, status, why, "")
    }
}

/// Why a name has no entry.
enum Miss {
    /// A directory, asked for with its slash, that has no index.
    Directory,
    /// A directory, asked for without its slash.
    Slash,
    /// Nothing that can be served.
    Fault(Fault),
}

impl Site {
    fn get(
        &mut self,
        path: &str,
        query: Option<&str>,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Response {
        if self.root.follow(context.now) {
            // With the entries go their watches.
            self.cache = Cache::new(self.config.options.cache);
        }
        let mut name = std::mem::take(&mut self.name);
        let response = match path::decode(path, self.config.options.hidden, &mut name) {
            Ok(()) => self.serve(&name, query, request, context),
            // What can be no name here may be one to a program that routes in the browser.
            Err(PathError::EmptySegment | PathError::TooLong) => {
                self.not_found(Some(&name), request, context)
            }
            Err(PathError::EncodedSlash) if self.config.options.spa => {
                self.not_found(Some(&name), request, context)
            }
            Err(PathError::Hidden) => self.not_found(None, request, context),
            Err(error) => self.refuse(Status::BAD_REQUEST, &error.to_string()),
        };
        self.name = name;
        response
    }

    fn serve(
        &mut self,
        name: &[u8],
        query: Option<&str>,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Response {
        match self.with_entry(name, context, |entry, root, watch, config| {
            negotiated(entry, request, root, watch, config, context)
        }) {
            Ok(response) => response,
            Err(Miss::Slash) if self.may_be_told(name, context) => self.add_slash(name, query),
            Err(Miss::Slash) => self.not_found(Some(name), request, context),
            Err(Miss::Directory) => self.list(name, query, request, context),
            Err(Miss::Fault(Fault::Absent | Fault::Directory)) => {
                self.not_found(Some(name), request, context)
            }
            Err(Miss::Fault(fault)) => self.fail(&fault, request, context),
        }
    }

    /// Finds the entry of a name, in the cache or on the disk, and lets `answer` make something of it.
    fn with_entry<T>(
        &mut self,
        name: &[u8],
        context: &Context<'_>,
        answer: impl FnOnce(&mut Entry, &Root, &mut Watch, &Config) -> T,
    ) -> Result<T, Miss> {
        if let Some(place) = self.cache.find(name) {
            let entry = self.cache.get_mut(place);
            if let Some(entry) = entry
                .and_then(|entry| entry.is_current(&self.root, &mut self.watch, context).then_some(entry))
            {
                let answer = answer(entry, &self.root, &mut self.watch, &self.config);
                self.cache.reweigh(place);
                return Ok(answer);
            }
            self.cache.remove(place);
        }
        let mut entry = self.load(name, context)?;
        let answer = answer(&mut entry, &self.root, &mut self.watch, &self.config);
        self.cache.insert(name, entry);
        Ok(answer)
    }

    fn load(&self, name: &[u8], context: &Context<'_>) -> Result<Entry, Miss> {
        let fault = |fault| Miss::Fault(fault);
        // Checked when it was decoded.
        let name = std::str::from_utf8(name).map_err(|_| fault(Fault::Absent))?;
        if !name.is_empty() && !name.ends_with('/') {
            return Entry::open(name.to_owned(), Vec::new(), &self.root, &self.config, context).map_err(
                |error| match error {
                    Fault::Directory => Miss::Slash,
                    error => fault(error),
                },
            );
        }
        let mut before = Vec::new();
        for index in &self.config.options.index {
            let file = format!("{name}{index}");
            let c_name = root::c_name(&file).map_err(fault)?;
            match Entry::open(file, before.clone(), &self.root, &self.config, context) {
                Err(Fault::Absent | Fault::Directory) => before.push(c_name),
                result => return result.map_err(fault),
            }
        }
        match self.root.look(name).map_err(fault)?.0 {
            Kind::Directory => Err(Miss::Directory),
            Kind::File | Kind::Other => Err(fault(Fault::Absent)),
        }
    }

    /// A listing; with listings off, a directory without an index is as good as absent.
    fn list(
        &mut self,
        name: &[u8],
        query: Option<&str>,
        request: &Request<'_>,
        context: &Context<'_>,
    ) -> Response {
        if !self.config.options.listing {
            return self.not_found(Some(name), request, context);
        }
        let text = std::str::from_utf8(name).unwrap_or_default();
        match listing::answer(&self.root, text, query, request.headers, &self.config) {
            Ok(response) => response,
            Err(fault) => self.fail(&fault, request, context),
        }
    }

    /// Whether it may be told that this is a directory: with listings off, one without an index is as good as absent.
    fn may_be_told(&mut self, name: &[u8], context: &Context<'_>) -> bool {
        if self.config.options.listing {
            return true;
        }
        let found = self.with_entry(&[name, b"/"].concat(), context, |_, _, _, _| ());
        !matches!(found, Err(Miss::Directory | Miss::Fault(Fault::Absent | Fault::Directory)))
    }

    /// 301 to the same address with a slash, so that the page's relative links mean what they say.
    fn add_slash(&self, name: &[u8], query: Option<&str>) -> Response {
        // Made of the checked name and not of what was sent: one slash in front, so never another host.
        let mut location = String::from("/");
        path::encode(name, &mut location);
        location.push('/');
        if let Some(query) = query {
            location.push('?');
            location.extend(query.chars().filter(|character| matches!(character, '!'..='~')));
        }
        let why = format!("This is a folder; its address is {location}");
        let field = format!("Location: {location}\r\n");
        pages::error(&self.config, Status::MOVED_PERMANENTLY, &why, &field)
    }

    fn fail(&mut self, fault: &Fault, request: &Request<'_>, context: &Context<'_>) -> Response {
        let (status, why, fields, error) = match fault {
            Fault::Absent | Fault::Directory => return self.not_found(None, request, context),
            Fault::Forbidden => return self.refuse(Status::FORBIDDEN, "This may not be read."),
            Fault::Exhausted(error) => (
                Status::SERVICE_UNAVAILABLE,
                "This cannot be opened at the moment. Try again.",
                "Retry-After: 1\r\n",
                error,
            ),
            Fault::Broken(error) => (Status::INTERNAL_SERVER_ERROR, "The file could not be read.", "", error),
        };
        // Once a second is enough to be noticed; a client that asks a thousand times does not fill the log.
        if self.complained != context.unix_time {
            self.complained = context.unix_time;
            log::error!("cannot read {:?}: {error}", request.raw_target);
        }
        pages::error(&self.config, status, why, fields)
    }

    fn options(&self, headers: Headers<'_>) -> Response {
        let mut fields = format!("{ALLOW}{}", self.config.common);
        // A preflight (Fetch §4.8): may a script send this? What reads files, with any field they understand.
        if self.config.options.cors.is_some() && headers.get("access-control-request-method").is_some() {
            fields.push_str(
                "Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
                 Access-Control-Allow-Headers: Accept, Authorization, Cache-Control, Content-Type, If-Match, \
                 If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Range, X-Requested-With\r\n\
                 Access-Control-Max-Age: 86400\r\n",
            );
        }
        Response { status: Status::NO_CONTENT, fields: fields.into_bytes().into(), content: Content::Empty }
    }
}

/// The answer for a file: the best coding, if it is needed, as much of it as is asked for.
fn negotiated(
    entry: &mut Entry,
    request: &Request<'_>,
    root: &Root,
    watch: &mut Watch,
    config: &Config,
    context: &Context<'_>,
) -> Response {
    let headers = request.headers;
    let wishes = Wishes::read(headers);
    let chosen = if wishes.codings {
        entry.choose(&Accepted::read(headers), root, watch, config, context)
    } else {
        entry.plain()
    };
    if wishes.conditions
        && let Some(status) = conditional::evaluate(headers, chosen.validators()).status()
    {
        return Response { status, fields: chosen.not_modified.clone(), content: Content::Empty };
    }
    // RFC 9110 §14.2: Range means something to GET alone.
    if wishes.range
        && request.method == Method::Get
        && conditional::allows_part(headers, chosen.validators(), context.unix_time)
        && let Some(part) = range::answer(Selection::read(headers, chosen.content.len()), chosen, config)
    {
        return part;
    }
    Response { status: Status::OK, fields: chosen.fields.clone(), content: chosen.content.clone() }
}

/// Which fields of a request matter to a file: one look at each name, so that a plain request pays for nothing.
#[derive(Default)]
struct Wishes {
    codings: bool,
    conditions: bool,
    range: bool,
}

impl Wishes {
    fn read(headers: Headers<'_>) -> Self {
        let mut wishes = Self::default();
        for (name, _) in headers.iter() {
            match name.len() {
                5 => wishes.range |= name.eq_ignore_ascii_case("range"),
                8 => wishes.conditions |= name.eq_ignore_ascii_case("if-match"),
                13 => wishes.conditions |= name.eq_ignore_ascii_case("if-none-match"),
                15 => wishes.codings |= name.eq_ignore_ascii_case("accept-encoding"),
                17 => wishes.conditions |= name.eq_ignore_ascii_case("if-modified-since"),
                19 => wishes.conditions |= name.eq_ignore_ascii_case("if-unmodified-since"),
                _ => {}
            }
        }
        wishes
    }
}
