//! Ends of connections: orderly, by half, by reset.

use super::prelude::*;

/// Decided by the runner, which knows when the server was gone.
pub(in crate::check) const SURVIVES: &str = "close.survives";

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: SURVIVES,
        severity: Must,
        rfc: "RFC 9110 §17.5",
        needs: Url,
        kind: Gentle,
        want: Text {
            zh: "检查期间服务器一直活着、一直有应答",
            en: "The server stays alive and answering during the whole check",
        },
        why: Text {
            zh: "任何一个客户端都不该让服务器退出或卡死。每个连接的错误在那个连接里处理：捕获、记录、关闭它，循环继续。",
            en: "No client may end or hang the server. Handle each connection's errors with that connection: catch, log, close it, \
go on.",
        },
        // The runner overrides this with what it saw between the rules; here it is asked once more.
        test: Run(|p| p.ask(p.page()).map(drop)),
    },
    Rule {
        id: "close.half-close",
        severity: Should,
        rfc: "RFC 9293 §3.6",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "客户端发完请求就半关闭，仍然得到应答",
            en: "A client that half-closes after its request still gets the answer",
        },
        why: Text {
            zh: "读到文件尾（0 字节）只表示「不再有请求」，不表示「不要应答了」。欠的先发完，再关。",
            en: "End of file means no more requests, not no more answers. Send what is owed, then close.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.page().bytes());
            conn.finish_writing();
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "close.half-close-large",
        severity: Good,
        rfc: "RFC 9293 §3.6",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "半关闭之后，大文件也完整送达",
            en: "After a half-close a large file arrives whole, too",
        },
        why: Text {
            zh: "发送途中读到文件尾，不能因此丢掉没发完的部分。",
            en: "End of file in the middle of sending is no reason to drop the rest.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.file("big.bin")?.bytes());
            conn.finish_writing();
            let answer = conn.answer(false).map_err(lack)?;
            same_body(&answer, p.files()?.big())
        }),
    },
    Rule {
        id: "close.connect-and-leave",
        severity: Must,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "连上就走的客户端不影响服务器", en: "Clients that connect and leave do no harm"
        },
        why: Text {
            zh: "recv 返回空串，splitlines()[0] 就 IndexError，单进程服务器当场退出。浏览器的预连接正是如此。先判断「空 = 对方走了」。",
            en: "recv returns nothing, splitlines()[0] raises IndexError, and a single-process server is gone. Browsers' spare \
connections do just that. Test for \"empty = gone\" first.",
        },
        test: Run(|p| {
            for _ in 0..10 {
                drop(p.connect()?);
            }
            alive(p)
        }),
    },
    Rule {
        id: "close.connect-and-reset",
        severity: Must,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "连上就重置（RST）的客户端不影响服务器",
            en: "Clients that connect and reset do no harm",
        },
        why: Text {
            zh: "accept、recv、send 都可能报 ECONNRESET。除 WouldBlock 和 Interrupted 之外的错误，都表示「这个连接完了」，而不是「服务器完了」。",
            en: "accept, recv and send may all report ECONNRESET. Every error except WouldBlock and Interrupted means the end of this \
connection, not of the server.",
        },
        test: Run(|p| {
            for _ in 0..10 {
                p.connect()?.reset();
            }
            alive(p)
        }),
    },
    Rule {
        id: "close.reset-in-request",
        severity: Must,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "发了半个请求就重置的客户端不影响服务器",
            en: "A reset in the middle of a request does no harm",
        },
        why: Text {
            zh: "连同它的缓冲区一起扔掉，别的连接照旧。在循环里删除元素要用 retain 或 swap_remove，别跳过邻居。",
            en: "Drop it with its buffer; the others go on. Remove with retain or swap_remove and do not skip the neighbour.",
        },
        test: Run(|p| {
            for _ in 0..5 {
                let mut conn = p.connect()?;
                conn.send(&p.fill(b"GET {page} HTTP/1.1\r\nHo"));
                p.pause(Duration::from_millis(5));
                conn.reset();
            }
            alive(p)
        }),
    },
    Rule {
        id: "close.reset-in-answer",
        severity: Must,
        rfc: "RFC 9112 §9.5",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "下载途中重置的客户端不影响服务器",
            en: "A reset in the middle of a download does no harm",
        },
        why: Text {
            zh: "send 会报 EPIPE 或 ECONNRESET（C 程序还会收到 SIGPIPE，默认直接退出）。关掉这个连接就好。",
            en: "send reports EPIPE or ECONNRESET (a C program gets SIGPIPE, which ends it by default). Close this connection, no \
more.",
        },
        test: Run(|p| {
            for _ in 0..3 {
                let mut conn = p.connect()?;
                conn.send(&p.file("big.bin")?.bytes());
                conn.pull(Instant::now() + p.patience());
                conn.reset();
            }
            alive(p)
        }),
    },
    Rule {
        id: "close.half-a-request",
        severity: Good,
        rfc: "RFC 9112 §8",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求发到一半就关闭写端：服务器随即了结这个连接",
            en: "Half a request and then end of file: the server finishes the connection",
        },
        why: Text {
            zh: "剩下的一半不会来了。回 400 或直接关闭；循环里若不处理「读到 0 字节」，就会空转下去。",
            en: "The other half will never come. Answer 400 or close; a loop that ignores a read of 0 spins on it.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\n"));
            conn.finish_writing();
            let ended = conn.wait_end(p.patience());
            ensure!(ended.is_some(), "连接仍未关闭", "the connection is still open");
            Ok(())
        }),
    },
    Rule {
        id: "close.no-reset",
        severity: Must,
        rfc: "RFC 9112 §9.6",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求头有 3000 字节时，答完关闭也不会重置连接",
            en: "With 3000 octets of head the closing after the answer is no reset",
        },
        why: Text {
            zh: "缓冲区里还有没读的字节就 close，内核发的是 RST，会毁掉路上的应答。把请求读完；关闭时先半关闭，读空，再关。",
            en: "Closing while unread octets are in the buffer sends RST, which destroys the answer on its way. Read the whole request; \
to close, half-close, drain, close.",
        },
        test: Run(|p| {
            for _ in 0..3 {
                let mut conn = p.connect()?;
                let answer = p.ask_on(&mut conn, &p.page().with("Cookie", "c".repeat(3000)).close())?;
                whole(&answer)?;
                let ended = conn.wait_end(p.patience());
                ensure!(ended != Some(End::Reset), "连接被重置", "the connection was reset");
                if answer.end == BodyEnd::Close && answer.head.status == p.env.status {
                    // No length: a reset may have cut the body, which only a comparison shows.
                    p.is_page(&answer)?;
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "close.orderly-end",
        severity: Must,
        rfc: "RFC 9112 §9.6",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "Connection: close 的大应答，最后一个字节也不丢",
            en: "A large answer with Connection: close keeps its last octets",
        },
        why: Text {
            zh: "发送缓冲区里的数据，正常 close 之后仍会送达；SO_LINGER 设为 0 或提前退出进程就会丢。",
            en: "What is in the send buffer still arrives after an ordinary close; SO_LINGER 0 or an early exit loses it.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.file("big.bin")?.close())?;
            same_body(&answer, p.files()?.big())?;
            let ended = conn.wait_end(p.patience());
            ensure!(ended != Some(End::Reset), "最后是重置，不是关闭", "it ended by a reset");
            Ok(())
        }),
    },
    Rule {
        id: "close.error-survives-upload",
        severity: Should,
        rfc: "RFC 9112 §9.6",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "客户端还在上传时回的错误，能到达客户端",
            en: "An error answered during an upload reaches the client",
        },
        why: Text {
            zh: "回了 405 就 close，而上传还在进来，RST 会让客户端看不到这个 405。先半关闭，再读掉一段（有上限），再关。",
            en: "Close right after a 405 while the upload is coming in, and the RST hides the 405. Half-close, read on for a bounded \
while, close.",
        },
        test: Run(|p| {
            for _ in 0..3 {
                let mut conn = p.connect()?;
                let head = p.req("POST", &p.env.page).with("Content-Length", "131072").bytes();
                conn.send(&head);
                for _ in 0..16 {
                    if !conn.send(&[b'x'; 8192]) {
                        break;
                    }
                    p.pause(Duration::from_millis(2));
                }
                p.pause(Duration::from_millis(20));
                conn.head().map_err(lack)?;
            }
            Ok(())
        }),
    },
];

/// The server answers a plain request.
pub(super) fn alive(p: &mut Probe<'_>) -> Verdict {
    let answer = p.ask(p.page())?;
    p.is_page(&answer)
}
