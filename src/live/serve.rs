//! The service below `/_loop/`: what may be asked, what may be changed, and everything else passed on.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;

use super::board::{Board, Controls};
use super::guard::Asker;
use super::render::Scene;
use super::silent::SILENT_MAX;
use crate::http::{Method, Request, Status, Target};
use crate::idle::IdleStrategy;
use crate::service::{Content, Context, Response, Service};

/// How long silent connections are kept unless they are asked for again.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// Longest sleep a page may ask for. The page itself is served by the loop that then sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Most octets per read that count as a handicap; the ordinary buffer is larger.
const READ_LIMIT_MAX: usize = 4096;
/// Length of `/_loop/download`: more than all the buffers between this loop and a reader who does not read, so
/// that a write is sure to come to WouldBlock.
const DOWNLOAD: usize = 64 << 20;
const DOWNLOAD_PIECE: usize = 256 << 10;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// A service with the loop's board in front of it. Requests below `/_loop/` are answered here if they come from
/// this machine under a name of this machine; all others go to the inner service, as if this one were not there.
#[derive(Debug)]
pub struct Live<S> {
    inner: S,
    board: Arc<Board>,
    model: &'static str,
    page_requests: u64,
    download: Option<Content>,
}

impl<S: Service> Live<S> {
    /// In front of `inner`; `model` is the name of the I/O model that serves.
    pub const fn new(inner: S, board: Arc<Board>, model: &'static str) -> Self {
        Self { inner, board, model, page_requests: 0, download: None }
    }

    /// `None`: not ours.
    fn answer(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        let Target::Origin { path, query } = request.target else { return None };
        let name = path.strip_prefix("/_loop")?;
        let asker = Asker::new(request, context.peer);
        if !asker.may_look() {
            return None;
        }
        let query = query.unwrap_or_default();
        match request.method {
            Method::Get | Method::Head => self.look(name, query, context),
            Method::Known("POST") => {
                let name = name.strip_prefix('/')?;
                if !asker.may_act() {
                    let why = "Only a page of this server may do that: send it from there, or with the matching Origin.\n";
                    return Some(text(Status::FORBIDDEN, why));
                }
                self.page_requests += 1;
                Some(match self.act(name, query, context.now) {
                    Some(Ok(())) => response(Status::OK, JSON, "{\"ok\":true}\n"),
                    Some(Err(why)) => text(Status::BAD_REQUEST, why),
                    None => text(Status::NOT_FOUND, "The loop has no such control.\n"),
                })
            }
            _ => Some(Response {
                status: Status::METHOD_NOT_ALLOWED,
                fields: Arc::from(&b"Allow: GET, HEAD, POST\r\nCache-Control: no-store\r\n"[..]),
                content: Content::Empty,
            }),
        }
    }

    fn look(&mut self, name: &str, query: &str, context: &Context<'_>) -> Option<Response> {
        if name == "/download" {
            return Some(self.download());
        }
        let scene = |live: &Self| {
            let state = live.board.state();
            Scene::new(&state, context, live.model, live.page_requests).render(name, query)
        };
        let (kind, body) = match name {
            "" => {
                return Some(Response {
                    status: Status::PERMANENT_REDIRECT,
                    fields: Arc::from(&b"Location: /_loop/\r\n"[..]),
                    content: Content::Empty,
                });
            }
            "/" => (HTML, scene),
            "/stats.json" => (JSON, scene),
            _ => return None,
        };
        self.board.watch(context.now);
        self.page_requests += 1;
        Some(response(Status::OK, kind, body(self)))
    }

    /// `None`: no such control. `Err` says what is wrong with the wish.
    fn act(&self, name: &str, query: &str, now: Instant) -> Option<Result<(), &'static str>> {
        let value = |key| parameter(query, key);
        let mut state = self.board.state();
        let silent = &mut state.silent_wanted;
        let wish = match name {
            "silent" => match value("n").and_then(|n| n.parse().ok()).filter(|&n| n <= SILENT_MAX) {
                Some(n) => {
                    *silent = n;
                    state.silent_until = (n > 0).then(|| now + SILENT_FOR);
                    return Some(Ok(()));
                }
                None => Err("n is a number of connections from 0 to 1000.\n"),
            },
            "idle" => match value("strategy").and_then(|spec| idle_strategy(&spec)) {
                Some(strategy) => Ok(Controls { idle: Some(strategy), ..Controls::default() }),
                None => Err("strategy is spin, yield, sleep:T with T at most 1s, backoff or park.\n"),
            },
            "sweep" => match value("kind").and_then(|kind| kind.parse().ok()) {
                Some(kind) => Ok(Controls { sweep: Some(kind), ..Controls::default() }),
                None => Err("kind is full or hot.\n"),
            },
            "read" => match value("limit").and_then(|n| n.parse().ok()).filter(|&n| n <= READ_LIMIT_MAX) {
                Some(n) => Ok(Controls { read_limit: Some(NonZeroUsize::new(n)), ..Controls::default() }),
                None => Err("limit is a number of octets from 1 to 4096, or 0 for none.\n"),
            },
            "record" => Ok(Controls { record: true, ..Controls::default() }),
            _ => return None,
        };
        Some(wish.map(|wish| state.controls.get_or_insert_default().merge(wish)))
    }

    fn download(&mut self) -> Response {
        let content = self.download.get_or_insert_with(|| {
            let piece: Arc<[u8]> = vec![b'.'; DOWNLOAD_PIECE].into();
            let parts = vec![Content::Bytes(piece, 0..DOWNLOAD_PIECE); DOWNLOAD / DOWNLOAD_PIECE];
            Content::Parts(parts.into())
        });
        Response { content: content.clone(), ..response(Status::OK, "application/octet-stream", "") }
    }
}

impl<S: Service> Service for Live<S> {
    fn respond(&mut self, request: &Request<'_>, context: &Context<'_>) -> Option<Response> {
        self.answer(request, context).or_else(|| self.inner.respond(request, context))
    }

    fn refuse(&mut self, status: Status, why: &str) -> Response {
        self.inner.refuse(status, why)
    }
}

/// A small answer that is never stored.
pub(super) fn response(status: Status, kind: &str, body: impl Into<Vec<u8>>) -> Response {
    let fields =
        format!("Content-Type: {kind}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
    Response { status, fields: fields.into_bytes().into(), content: Content::from_bytes(body.into()) }
}

fn text(status: Status, why: &str) -> Response {
    response(status, TEXT, why)
}

/// The first value of `key` in a query, percent-decoded.
fn parameter<'q>(query: &'q str, key: &str) -> Option<Cow<'q, str>> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        .and_then(|value| percent_decode_str(value).decode_utf8().ok())
}

/// An idle strategy that a page may ask for.
fn idle_strategy(spec: &str) -> Option<IdleStrategy> {
    let strategy = spec.parse::<IdleStrategy>().ok()?;
    strategy.cap().is_none_or(|cap| cap <= SLEEP_MAX).then_some(strategy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sweep;
    use crate::live::Settings;

    struct Nobody;

    impl Service for Nobody {
        fn respond(&mut self, _: &Request<'_>, _: &Context<'_>) -> Option<Response> {
            Some(text(Status::NOT_FOUND, "inner"))
        }

        fn refuse(&mut self, status: Status, why: &str) -> Response {
            text(status, why)
        }
    }

    fn live() -> Live<Nobody> {
        let settings = Settings { idle: IdleStrategy::Spin, sweep: Sweep::Hot, read_limit: None };
        Live::new(Nobody, Board::new(Instant::now(), settings), "nonblocking")
    }

    #[test]
    fn wishes_gather_until_the_loop_takes_them() {
        let live = live();
        let now = Instant::now();
        assert_eq!(live.act("idle", "strategy=sleep%3A5ms", now), Some(Ok(())));
        assert_eq!(live.act("sweep", "kind=full", now), Some(Ok(())));
        assert_eq!(live.act("read", "limit=1", now), Some(Ok(())));
        assert_eq!(live.act("record", "", now), Some(Ok(())));
        assert_eq!(
            live.board.state().controls,
            Some(Controls {
                idle: Some(IdleStrategy::Sleep(Duration::from_millis(5))),
                sweep: Some(Sweep::Full),
                read_limit: Some(NonZeroUsize::new(1)),
                record: true,
            })
        );
        assert_eq!(live.act("read", "limit=0", now), Some(Ok(())));
        assert_eq!(live.board.state().controls.take().and_then(|c| c.read_limit), Some(None));
    }

    #[test]
    fn silent_connections_are_bounded_and_end_by_themselves() {
        let live = live();
        let now = Instant::now();
        assert_eq!(live.act("silent", "n=1000", now), Some(Ok(())));
        assert_eq!(live.board.state().silent_wanted, 1000);
        assert_eq!(live.board.state().silent_until, Some(now + SILENT_FOR));
        assert!(matches!(live.act("silent", "n=1001", now), Some(Err(_))));
        assert!(matches!(live.act("silent", "n=-1", now), Some(Err(_))));
        assert_eq!(live.act("silent", "n=0", now), Some(Ok(())));
        assert_eq!(live.board.state().silent_until, None);
    }

    #[test]
    fn a_wish_out_of_bounds_is_refused() {
        let live = live();
        for (name, query) in [
            ("idle", "strategy=sleep:2s"),
            ("idle", "strategy=backoff:1m"),
            ("idle", "strategy=dance"),
            ("idle", ""),
            ("sweep", "kind="),
            ("read", "limit=4097"),
        ] {
            assert!(matches!(live.act(name, query, Instant::now()), Some(Err(_))), "{name}?{query}");
        }
        assert_eq!(live.board.state().controls, None);
        assert_eq!(live.act("stop", "", Instant::now()), None);
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        assert_eq!(parameter("nn=3&n=4", "n").as_deref(), Some("4"));
        assert_eq!(parameter("n", "n"), None);
        assert_eq!(parameter("n=%ff", "n"), None);
    }
}
