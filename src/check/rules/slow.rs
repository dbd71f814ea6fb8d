//! Peers that are slow, silent, or never read.

use super::many::{answered_beside, hold};
use super::prelude::*;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "slow.silent-neighbour",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "有个一声不吭的连接时，别人照样马上得到应答",
            en: "A silent connection does not keep others waiting",
        },
        why: Text {
            zh: "浏览器会预先建立连接却不发请求。单进程的堵塞服务器就卡在它的 recv 上。一个连接一个线程，或用非堵塞/epoll。",
            en: "Browsers open spare connections and send nothing. A blocking single-process server hangs in recv on them. Use a \
thread per connection, nonblocking sockets or epoll.",
        },
        test: Run(|p| {
            let silent = p.connect()?;
            p.pause(Duration::from_millis(50));
            let judged = answered_beside(p);
            drop(silent);
            judged
        }),
    },
    Rule {
        id: "slow.half-a-request-neighbour",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "有个只发了半个请求的连接时，别人照样得到应答",
            en: "A connection with half a request does not keep others waiting",
        },
        why: Text {
            zh: "等「剩下的一半」时不能占着整个循环。半个请求留在它自己的缓冲区里，先去照顾别的连接。",
            en: "Waiting for the other half must not occupy the loop. Leave the half in its own buffer and serve the others.",
        },
        test: Run(|p| {
            let mut half = p.connect()?;
            half.send(b"GET / HT");
            p.pause(Duration::from_millis(50));
            answered_beside(p)
        }),
    },
    Rule {
        id: "slow.no-reader-neighbour",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "有人要了大文件却不读时，别人照样得到应答",
            en: "Someone who asks for a large file and does not read keeps nobody waiting",
        },
        why: Text {
            zh: "对方不读，发送缓冲区就满，堵塞的 sendall 停在那里。非堵塞的 send 返回 WouldBlock，记下位置，下一轮再发。",
            en: "If the peer does not read, the send buffer fills and a blocking sendall stops there. A nonblocking send says \
WouldBlock: remember the place and go on in the next sweep.",
        },
        test: Run(|p| {
            let big = hold(p)?;
            p.pause(Duration::from_millis(100));
            let judged = answered_beside(p);
            drop(big);
            judged
        }),
    },
    Rule {
        id: "slow.pause-then-read",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "客户端停一会儿再读，大文件仍然完整",
            en: "A client that pauses before it reads still gets the large file whole",
        },
        why: Text {
            zh: "缓冲区满了不是错误：BlockingIOError（WouldBlock）只表示「现在放不下」。把它当错误会断开连接，不接住会让整个服务器退出，忽略它会丢掉一段。",
            en: "A full buffer is no error: BlockingIOError (WouldBlock) says \"not now\". Taken for an error it ends the connection, \
uncaught it ends the server, ignored it loses a piece.",
        },
        test: Run(|p| {
            let want = p.files()?.big();
            let mut conn = hold(p)?;
            p.pause(Duration::from_millis(700));
            let answer = conn.answer(false).map_err(lack)?;
            same_body(&answer, want)
        }),
    },
    Rule {
        id: "slow.sips",
        severity: Must,
        rfc: "RFC 9112 §6.3",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "客户端小口小口地读，文件仍然完整",
            en: "A client that reads in sips still gets the file whole",
        },
        why: Text {
            zh: "每次 send 只被收下一部分，返回值是收下的字节数。从那里接着发，既不重发也不跳过。",
            en: "Every send takes a part, and its return value says how much. Go on from there, repeating and skipping nothing.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.shrink_receive_buffer();
            conn.send(&p.file("medium.bin")?.close().bytes());
            for _ in 0..40 {
                conn.pull_at_most(Instant::now() + p.patience(), 1500);
                p.pause(Duration::from_millis(5));
            }
            let answer = conn.answer(false).map_err(lack)?;
            same_body(&answer, p.files()?.medium())
        }),
    },
    Rule {
        id: "slow.pipeline-unread",
        severity: Must,
        rfc: "RFC 9112 §9.3.2",
        needs: Files,
        kind: Rough,
        want: Text {
            zh: "客户端连发四十个请求、过一会儿才读，应答一份不少",
            en: "Forty requests sent without reading: read later, all answers are there",
        },
        why: Text {
            zh: "不读的客户端会让发送缓冲区塞满。要有自己的待发缓冲，并在发不出去时停止读它的新请求（背压）；非堵塞套接字上用 sendall 会抛异常而丢数据。",
            en: "A client that does not read fills the send buffer. Keep what is unsent, and stop reading its requests meanwhile \
(back-pressure); sendall on a nonblocking socket raises and loses data.",
        },
        test: Run(|p| {
            let count = 40;
            let mut bytes = Vec::new();
            for _ in 0..count - 1 {
                bytes.extend_from_slice(&p.file("medium.bin")?.bytes());
            }
            bytes.extend_from_slice(&p.file("medium.bin")?.close().bytes());
            let mut conn = p.connect()?;
            conn.shrink_receive_buffer();
            if conn.send_unread(&bytes, p.patience()) < bytes.len() {
                undecided!("请求没能全部发出", "the requests could not be sent");
            }
            p.pause(Duration::from_millis(300));
            let want = p.files()?.medium();
            for n in 1..=count {
                let answer = match conn.answer(false) {
                    Ok(answer) => answer,
                    Err(Lack::NotHttp | Lack::Misframed) => {
                        return Err(Stop::Fail(seen!(
                            "第 {n} 份应答的开头不对：前面丢了字节",
                            "answer {n} does not begin like one: octets were lost before it"
                        )));
                    }
                    Err(other) => return Err(lack(other)),
                };
                same_body(&answer, want)?;
                if !answer.head.says_keep() || answer.end == BodyEnd::Close {
                    break;
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "slow.dripping-head",
        severity: Should,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "请求头花一秒多才到齐，仍然得到应答",
            en: "A head that takes more than a second is still answered",
        },
        why: Text {
            zh: "手机网络上一秒很平常。时限从几秒到几十秒为宜，到了再回 408。",
            en: "On a mobile line a second is nothing. Let the limit be some seconds at least; then 408.",
        },
        test: Run(|p| {
            let bytes = p.page().with("X-A", "1").with("X-B", "2").close().bytes();
            let mut conn = p.connect()?;
            for piece in bytes.chunks(bytes.len().div_ceil(6)) {
                conn.send(piece);
                p.pause(Duration::from_millis(200));
            }
            let answer = conn.answer(false).map_err(lack)?;
            p.is_page(&answer)
        }),
    },
    Rule {
        id: "slow.silent-is-closed",
        severity: Good,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Slow,
        want: Text {
            zh: "一声不吭的连接，过些时候会被关闭",
            en: "A connection that stays silent is closed in the end",
        },
        why: Text {
            zh: "没有时限，断了网的对端会永远占着一个位置。给每个连接一个期限，到期就关（或先回 408）。",
            en: "Without a limit a peer that vanished holds its place for ever. Give every connection a deadline and close then \
(a 408 before it is welcome).",
        },
        test: Run(|p| {
            let conn = p.connect()?;
            closed_in_the_end(p, conn)
        }),
    },
    Rule {
        id: "slow.half-is-closed",
        severity: Good,
        rfc: "RFC 9110 §15.5.9",
        needs: Url,
        kind: Slow,
        want: Text {
            zh: "只发了半个请求的连接，过些时候会被关闭",
            en: "A connection with half a request is closed in the end",
        },
        why: Text {
            zh: "半个请求占着缓冲区和位置。请求头要有自己的时限，到期回 408 并关闭。",
            en: "Half a request holds a buffer and a place. A head has its own limit; answer 408 and close.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\nX-Wb: "));
            closed_in_the_end(p, conn)
        }),
    },
    Rule {
        id: "slow.drip-is-closed",
        severity: Good,
        rfc: "RFC 9110 §15.5.9",
        needs: Url,
        kind: Slow,
        want: Text {
            zh: "无休止地一点一点发请求头的连接，会被关闭",
            en: "A head that drips on without end is closed in the end",
        },
        why: Text {
            zh: "这就是 Slowloris 攻击：每隔一会儿来一个字节，刷新了「闲置」时限。时限要从请求的第一个字节算起，不因新字节而延长。",
            en: "That is Slowloris: an octet now and then renews an idle limit. Count from the first octet of the request, and let no \
octet extend it.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            conn.send(&p.fill(b"GET {page} HTTP/1.1\r\nHost: {host}\r\n"));
            let until = Instant::now() + p.env.watch;
            while Instant::now() < until {
                if conn.wait_end(Duration::from_millis(400).min(p.env.watch)).is_some() {
                    return Ok(());
                }
                conn.send(b"X-Wb: drip\r\n");
                if p.env.stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
            still_open(p)
        }),
    },
    Rule {
        id: "slow.idle-is-closed",
        severity: Good,
        rfc: "RFC 9112 §9.5",
        needs: Url,
        kind: Slow,
        want: Text {
            zh: "应答之后一直闲着的长连接，过些时候会被关闭",
            en: "A kept connection that stays idle is closed in the end",
        },
        why: Text {
            zh: "浏览器会留着连接几分钟。闲置时限由服务器定，几秒到一两分钟都常见。",
            en: "Browsers keep connections for minutes. The idle limit is the server's to set; some seconds to a minute or two.",
        },
        test: Run(|p| {
            let mut conn = p.connect()?;
            let answer = p.ask_on(&mut conn, &p.page())?;
            whole(&answer)?;
            closed_in_the_end(p, conn)
        }),
    },
];

fn closed_in_the_end(p: &Probe<'_>, mut conn: Conn) -> Verdict {
    let until = Instant::now() + p.env.watch;
    while Instant::now() < until && !p.env.stop.load(std::sync::atomic::Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if conn.wait_end(left.min(Duration::from_millis(250))).is_some() {
            return Ok(());
        }
    }
    still_open(p)
}

/// Whether "still open" is a verdict depends on how long was watched: no standard gives a number.
fn still_open(p: &Probe<'_>) -> Verdict {
    let watched = p.env.watch.as_secs_f32();
    let limit = p.env.idle_limit.as_secs_f32();
    if p.env.watch < p.env.idle_limit {
        undecided!(
            "看了 {watched} 秒仍开着；用 --watch {limit} 才能判定",
            "still open after {watched} s; --watch {limit} would decide"
        );
    }
    ensure!(false, "看了 {watched} 秒仍开着", "still open after {watched} s");
    Ok(())
}
