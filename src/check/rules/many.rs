//! Many clients at once, within the bounds of politeness: at most a few hundred connections.

use super::prelude::*;

pub(super) static RULES: &[Rule] = &[
    Rule {
        id: "many.burst",
        severity: Should,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Crowd,
        want: Text {
            zh: "五十个客户端同时来，个个得到应答",
            en: "Fifty clients that come at once are all answered",
        },
        why: Text {
            zh: "边沿触发的 epoll 只通知一次：一次事件里要一直 accept 到 WouldBlock，否则剩下的连接没人理。listen 的队列也别太短。",
            en: "Edge-triggered epoll tells once: accept until WouldBlock per event, or the rest is never looked at. Let the listen \
queue be long enough.",
        },
        test: Run(|p| burst(p, 50)),
    },
    Rule {
        id: "many.two",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Rough,
        want: Text {
            zh: "两条长连接轮流发请求，都得到应答",
            en: "Two kept connections that take turns are both answered",
        },
        why: Text {
            zh: "服务完一个客户端的全部请求才管下一个，就叫一次一个客户端。让每个连接有自己的状态，轮流照顾。",
            en: "Serving one client to its end before the next is one client at a time. Keep a state per connection and take turns.",
        },
        test: Run(|p| {
            let mut a = p.connect()?;
            let mut b = p.connect()?;
            for _ in 0..3 {
                for conn in [&mut b, &mut a] {
                    let answer = p.ask_on(conn, &p.page())?;
                    p.is_page(&answer)?;
                    if !answer.head.says_keep() || answer.end == BodyEnd::Close {
                        return Ok(());
                    }
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "many.idle-hundred",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Crowd,
        want: Text {
            zh: "一百条闲着的连接之外，新来的照样马上得到应答",
            en: "Beside a hundred idle connections a newcomer is answered at once",
        },
        why: Text {
            zh: "每个闲连接一个进程太贵；轮询则每轮都要问一遍。上限要够大，问一遍要够便宜。",
            en: "A process per idle connection is dear, and polling asks each in every sweep. Let the limit be high and asking cheap.",
        },
        test: Run(|p| {
            let mut idle = Vec::new();
            for n in 1..=100 {
                match p.connect() {
                    Ok(conn) => idle.push(conn),
                    Err(_) => ensure!(false, "第 {n} 条连接被拒绝", "connection {n} was refused"),
                }
            }
            answered_beside(p)
        }),
    },
    Rule {
        id: "many.two-hundred",
        severity: Good,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Crowd,
        want: Text {
            zh: "二百个客户端同时来，个个得到应答",
            en: "Two hundred clients that come at once are all answered",
        },
        why: Text {
            zh: "看看文件描述符的上限（ulimit -n）和 listen 的队列长度；到了上限要明确地拒绝（503），不能让人干等。",
            en: "Look at the limit of descriptors (ulimit -n) and the listen queue; when full, refuse plainly (503) instead of keeping \
people waiting.",
        },
        test: Run(|p| burst(p, 200)),
    },
    Rule {
        id: "many.one-after-another",
        severity: Should,
        rfc: "RFC 9112 §9.4",
        needs: Url,
        kind: Crowd,
        want: Text {
            zh: "三百个短连接一个接一个，个个得到应答",
            en: "Three hundred short connections, one after another, are all answered",
        },
        why: Text {
            zh: "每次漏关一个描述符，几百次之后就 EMFILE。父进程、异常分支里都要关。",
            en: "One descriptor leaked per connection and there is EMFILE after some hundred. Close in the parent and in every error \
branch, too.",
        },
        test: Run(|p| {
            for n in 1..=300 {
                let judged = p.ask(p.page()).and_then(|answer| {
                    if answer.is_unending() {
                        undecided!(
                            "应答没有结尾，见 framing.200-ends",
                            "no answer has an end, see framing.200-ends"
                        );
                    }
                    p.is_page(&answer)
                });
                match judged {
                    Err(Stop::Fail(f)) => {
                        let (zh, en) = (f.zh, f.en);
                        ensure!(false, "第 {n} 个：{zh}", "number {n}: {en}");
                    }
                    other => other?,
                }
            }
            Ok(())
        }),
    },
    Rule {
        id: "many.not-mixed",
        severity: Must,
        rfc: "RFC 9112 §9.3",
        needs: Files,
        kind: Crowd,
        want: Text {
            zh: "二十个客户端同时要不同的文件，谁的归谁",
            en: "Twenty clients with different files get each its own",
        },
        why: Text {
            zh: "共用的缓冲区或全局变量会把甲的内容发给乙。每个连接的状态放在它自己的结构里。",
            en: "A shared buffer or a global variable sends one client's content to another. Keep each state in its own structure.",
        },
        test: Run(|p| {
            let mut conns = Vec::new();
            for _ in 0..20 {
                conns.push(p.connect()?);
            }
            for (n, conn) in conns.iter_mut().enumerate() {
                let bytes = p.file(&format!("n{}.txt", n % 10))?.close().bytes();
                conn.send(&bytes);
            }
            for (n, conn) in conns.iter_mut().enumerate() {
                let answer = conn.answer(false).map_err(lack)?;
                same_body(&answer, format!("file number {}\n", n % 10).as_bytes())?;
            }
            Ok(())
        }),
    },
    Rule {
        id: "many.large-together",
        severity: Should,
        rfc: "RFC 9112 §9.4",
        needs: Files,
        kind: Crowd,
        want: Text {
            zh: "四个客户端同时下载大文件，份份完整",
            en: "Four clients that download the large file together all get it whole",
        },
        why: Text {
            zh: "每个连接各记各的偏移量；共用一个打开的文件时用 pread，别用会移动位置的 read。",
            en: "Each connection has its own offset; with one shared handle use pread, not a read that moves the position.",
        },
        test: Run(|p| {
            let want = p.files()?.big();
            let mut conns = Vec::new();
            for _ in 0..4 {
                let mut conn = p.connect()?;
                conn.send(&p.file("big.bin")?.close().bytes());
                conns.push(conn);
            }
            // A little from each in turn, so that they really run side by side.
            for _ in 0..16 {
                for conn in &mut conns {
                    conn.pull(Instant::now() + Duration::from_millis(20));
                }
            }
            for conn in &mut conns {
                let answer = conn.answer(false).map_err(lack)?;
                same_body(&answer, want)?;
            }
            Ok(())
        }),
    },
];

/// `count` connections, each with one request and the wish to close, all sent before any is read.
fn burst(p: &mut Probe<'_>, count: usize) -> Verdict {
    let bytes = p.page().close().bytes();
    let mut conns = Vec::new();
    for n in 1..=count {
        match p.connect() {
            Ok(mut conn) => {
                conn.send(&bytes);
                conns.push(conn);
            }
            Err(Stop::Fail(f)) => {
                let (zh, en) = (f.zh, f.en);
                ensure!(false, "第 {n} 条：{zh}", "connection {n}: {en}");
            }
            Err(other) => return Err(other),
        }
    }
    let mut answered = 0;
    for conn in &mut conns {
        match conn.answer(false) {
            Ok(answer) => {
                p.is_page(&answer)?;
                answered += 1;
            }
            // One unanswered client after another would cost one patience each: the first is enough.
            Err(other) => {
                let Stop::Fail(f) = lack(other) else { break };
                let (zh, en) = (f.zh, f.en);
                let n = answered + 1;
                ensure!(false, "第 {n} 个客户端：{zh}", "client {n}: {en}");
            }
        }
    }
    Ok(())
}

/// A plain request on a connection of its own is answered now.
pub(super) fn answered_beside(p: &mut Probe<'_>) -> Verdict {
    let answer = p.ask(p.page())?;
    p.is_page(&answer)
}

/// A client that has asked for the large file and does not read.
pub(super) fn hold(p: &mut Probe<'_>) -> Result<Conn, Stop> {
    let mut conn = p.connect()?;
    conn.shrink_receive_buffer();
    conn.send(&p.file("big.bin")?.close().bytes());
    Ok(conn)
}
