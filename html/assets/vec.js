// The Vec: one cell per client, in the loop's own order. State is a letter as well as a colour; hot is square,
// quiet is round; the connection that brings this very picture has a ring.

const words = {
  zh: {
    I: "等请求", H: "头没收完", B: "跳过请求体", W: "还欠字节", D: "排空后关闭",
    hot: "常用，每轮都试", quiet: "安静，一次 poll 问一批", me: "本页自己的连接", ours: "循环自己开的静默连接",
    line: (c) => `端口 ${c.port} · ${c.age} · 收 ${c.bytes_in} 字节 · 发 ${c.bytes_out} 字节 · ${c.requests} 个请求 · 静了 ${c.quiet}`,
    more: (n) => `另有 ${n} 个没有画出`,
    old: (s) => `${s} 秒前来的`, since: (s) => `${s} 秒`,
  },
  en: {
    I: "waits for a request", H: "part of a head", B: "reading past a body", W: "owed octets", D: "draining",
    hot: "hot: tried every sweep", quiet: "quiet: asked in slices", me: "this page's own connection",
    ours: "a silent connection the loop opened to itself",
    line: (c) => `port ${c.port} · ${c.age} · ${c.bytes_in} octets in · ${c.bytes_out} out · ${c.requests} requests · quiet for ${c.quiet}`,
    more: (n) => `${n} more are not drawn`,
    old: (s) => `${s} s old`, since: (s) => `${s} s`,
  },
};

export class Vec {
  #list;
  #detail;
  #words;
  #clients = [];
  #picked = 0;

  constructor(list, detail, zh) {
    this.#list = list;
    this.#detail = detail;
    this.#words = zh ? words.zh : words.en;
    list.addEventListener("click", (event) => {
      const cell = event.target.closest("[role=option]");
      if (cell) this.#pick([...list.children].indexOf(cell));
    });
    list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.#pick(this.#clients.findIndex((c) => c.id === this.#picked) + step);
    });
  }

  draw(json) {
    const { fields, rows, more } = json.clients;
    this.#clients = rows.map((row) => Object.fromEntries(fields.map((field, at) => [field, row[at]])));
    const list = this.#list;
    while (list.children.length > this.#clients.length) list.lastChild.remove();
    this.#clients.forEach((client, at) => {
      let cell = list.children[at];
      if (!cell) {
        cell = document.createElement("div");
        cell.setAttribute("role", "option");
        cell.id = `client-${at}`;
        list.append(cell);
      }
      const me = client.port !== 0 && client.port === json.page.port;
      const name = ["", client.state, client.hot && "hot", client.ours && "ours", me && "me", client.id === this.#picked && "picked"].filter(Boolean).join(" ");
      if (cell.className !== name) cell.className = name;
      if (cell.textContent !== client.state) cell.textContent = client.state;
      cell.setAttribute("aria-selected", String(client.id === this.#picked));
      cell.setAttribute("aria-label", `${client.id}: ${this.#words[client.state]}, ${this.#words[client.hot ? "hot" : "quiet"]}`);
    });
    this.#say(json.page.port, more);
  }

  #pick(at) {
    const client = this.#clients[Math.max(0, Math.min(at, this.#clients.length - 1))];
    if (!client) return;
    this.#picked = client.id;
    for (const cell of this.#list.children) cell.classList.remove("picked");
    const cell = this.#list.children[this.#clients.indexOf(client)];
    cell.classList.add("picked");
    this.#list.setAttribute("aria-activedescendant", cell.id);
    this.#say();
  }

  #port = 0;
  #more = 0;

  #say(port = this.#port, more = this.#more) {
    [this.#port, this.#more] = [port, more];
    const client = this.#clients.find((c) => c.id === this.#picked) ?? this.#clients.find((c) => c.port === port);
    const text = [];
    if (client) {
      const w = this.#words;
      const seconds = (ms) => (ms / 1000).toFixed(1);
      if (client.port === port && port) text.push(w.me);
      if (client.ours) text.push(w.ours);
      text.push(`${client.state} ${w[client.state]}`, w[client.hot ? "hot" : "quiet"]);
      text.push(w.line({ ...client, age: w.old(seconds(client.age_ms)), quiet: w.since(seconds(client.quiet_ms)) }));
    }
    if (more) text.push(this.#words.more(more));
    this.#detail.textContent = text.join(" · ");
  }
}
