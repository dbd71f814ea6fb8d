// Wires the pieces of a page that are alive. A page has any number of them; what it does not have is left alone.

import { StripChart } from "./chart.js";
import { Feed, difference } from "./feed.js";
import { Replay } from "./replay.js";
import { Vec } from "./vec.js";

const zh = document.documentElement.lang.startsWith("zh");
const feed = new Feed();
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);

const number = (value) => {
  if (value >= 100) return Math.round(value).toLocaleString(zh ? "zh" : "en");
  return value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1);
};
const percent = (share) => `${share >= 0.9995 || share === 0 ? (share * 100).toFixed(0) : (share * 100).toFixed(1)} %`;
const small = (text) => Object.assign(document.createElement("small"), { textContent: text });
const silence = zh ? "循环没有回答。它停了，或者正在长睡。" : "The loop does not answer. It has stopped, or sleeps long.";
// What fetch throws if nobody answers says so in English, and in each browser otherwise.
const reason = (error) => (error instanceof TypeError ? silence : String(error.message || error));
const pause = (ms) => new Promise((go) => setTimeout(go, ms));
const wouldBlock = (share) => (zh ? `其中 ${percent(share)} 会堵` : `${percent(share)} would have blocked`);

// One line per chart: what it draws, and what it says.
const series = {
  sweeps: [(r) => r.sweeps, (r) => [number(r.sweeps), zh ? `其中 ${percent(r.idle)} 空转` : `${percent(r.idle)} found nothing`]],
  accepts: [(r) => r.accepts, (r) => [number(r.accepts), wouldBlock(r.acceptBlocked)]],
  reads: [(r) => r.reads, (r) => [number(r.reads), wouldBlock(r.readBlocked)]],
  asleep: [(r) => r.asleep, (r) => [percent(r.asleep), zh ? `${number(r.requests)} 个请求/秒` : `${number(r.requests)} requests/s`]],
};

const charts = all("[data-chart]").map((figure) => {
  const name = figure.dataset.chart;
  return { name, chart: new StripChart(figure.querySelector("canvas"), { linear: name === "asleep" }), output: figure.querySelector("output") };
});
const vec = one("[data-vec]") && new Vec(one("[data-vec]"), one("[data-vec-detail]"), zh);
const replay = one("[data-steps]") && new Replay(one("[data-steps]"), one("[data-replay-say]"), zh);

function draw() {
  if (!feed.now) return;
  const { samples, now } = feed;
  const pairs = samples.slice(1).map((sample, at) => [sample.at_ms, difference(samples[at], sample)]);
  const rates = feed.rates();
  for (const { name, chart, output } of charts) {
    const [value, say] = series[name];
    chart.draw(pairs.map(([at, r]) => [at, value(r)]), now.at_ms);
    if (rates) {
      const [main, side] = say(rates);
      output.replaceChildren(`${main} `, small(side));
    }
  }
  vec?.draw(now);
  for (const cell of all("[data-total]")) cell.textContent = now.stats[cell.dataset.total].toLocaleString(zh ? "zh" : "en");
  for (const cell of all("[data-rate]")) if (rates) cell.textContent = series[cell.dataset.rate][1](rates)[0];
  for (const cell of all("[data-page]")) cell.textContent = now.page.requests.toLocaleString(zh ? "zh" : "en");
  for (const cell of all("[data-clients]")) cell.textContent = now.stats.clients_now;
  for (const cell of all("[data-silent]")) cell.textContent = now.silent.open;
  for (const button of all("button[data-post]")) {
    const on = pressed(button.dataset.post, now);
    if (on !== null) button.setAttribute("aria-pressed", String(on));
  }
}

// Whether an action is the state the loop is in; null for actions that are not states.
function pressed(action, now) {
  const [name, query] = action.split("?");
  const value = query?.split("=")[1];
  switch (name) {
    case "idle": return now.settings.idle === value;
    case "sweep": return now.settings.sweep === value;
    case "read": return (now.settings.read_limit ?? 0) === Number(value);
    case "silent": return now.silent.wanted === Number(value);
    default: return null;
  }
}

function state() {
  for (const element of all("[data-live]")) {
    element.dataset.live = feed.present === null ? "" : feed.present ? "on" : "off";
    if (feed.present === false && element.classList.contains("needs-loop")) element.hidden = true;
  }
  const text = feed.present
    ? feed.lost ? silence : feed.paused
      ? zh ? "已暂停。按“继续”再看循环。" : "Paused. Press “Go on” to watch the loop."
      : zh ? `实时：每秒看 ${feed.hz} 次。看也有代价，看的次数另外也记着。` : `Live: ${feed.hz} looks a second. Looking has its price; the looks are counted on their own too.`
    : feed.recorded
      ? zh ? `这台服务器没有 /_loop/（换了别的服务器，或没有打开）。下面是一段录像，不是实时。${feed.now.recorded.zh}` : `This server has no /_loop/ (another server, or not switched on). What follows is a recording, not live. ${feed.now.recorded.en}`
      : zh ? "这台服务器没有 /_loop/，也没有录像可放。" : "This server has no /_loop/, and there is no recording to show.";
  for (const element of all("[data-live-state]")) if (element.textContent !== text) element.textContent = text;
  for (const button of all("[data-pause]")) button.textContent = feed.paused ? (zh ? "继续" : "Go on") : zh ? "暂停" : "Pause";
}

feed.addEventListener("frame", draw);
feed.addEventListener("state", state);
addEventListener("themechange", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
addEventListener("resize", draw);

for (const button of all("[data-pause]")) button.addEventListener("click", () => feed.setPaused(!feed.paused));
for (const range of all("[data-hz]")) {
  range.addEventListener("input", () => {
    feed.setRate(Number(range.value));
    range.nextElementSibling.value = range.value;
  });
}
for (const button of all("[data-say]")) {
  button.addEventListener("click", () => {
    const rates = feed.rates(5000);
    if (!rates) return;
    const line = Object.entries(series).map(([name, [, say]]) => {
      const title = one(`[data-chart="${name}"] figcaption > span`)?.textContent ?? name;
      return `${title} ${say(rates).join(zh ? "，" : ", ")}`;
    });
    one("[data-said]").textContent = line.join(zh ? "；" : "; ");
  });
}

// Acting. A guess is drawn first; what really happened is said a few seconds later.
const verdict = one("[data-verdict]");
let acts = 0;

async function act(action) {
  const mine = ++acts;
  if (feed.resting) await feed.ask(); // nobody has looked for a while
  const before = feed.rates()?.sweeps ?? 0;
  const guessed = Number(one("input[name=guess]:checked")?.value ?? 0);
  if (guessed && before) {
    charts.find(({ name }) => name === "sweeps")?.chart.guess(feed.now.at_ms, before * guessed);
    draw();
  }
  if (verdict) verdict.textContent = "";
  try {
    await feed.post(action);
  } catch (error) {
    if (verdict) verdict.textContent = reason(error);
    return;
  }
  // The loop obeys between two sweeps. Then it is given time to settle, and two seconds are measured.
  for (const ms of [200, 2800, 2000]) {
    await pause(ms);
    await feed.ask();
  }
  if (!verdict || !before || mine !== acts) return;
  const ratio = (feed.rates(1900)?.sweeps ?? 0) / before;
  const times = (r) => (r >= 1 ? `×${r.toFixed(1)}` : `×1/${(1 / Math.max(r, 1e-6)).toFixed(1)}`);
  verdict.textContent = zh
    ? `轮数/秒：现在是刚才的 ${times(ratio)}。` + (guessed ? `你猜的是 ${times(guessed)}。` : "")
    : `Sweeps/s: now ${times(ratio)} of before.` + (guessed ? ` Your guess was ${times(guessed)}.` : "");
  for (const radio of all("input[name=guess]")) radio.checked = false;
}
for (const button of all("button[data-post]")) button.addEventListener("click", () => act(button.dataset.post));

// A slow reader: takes the head of a large answer, then a little at a time, so that the loop's writes would block.
let download = null;
for (const button of all("[data-download]")) {
  button.addEventListener("click", async () => {
    if (download) {
      download.abort();
      return;
    }
    download = new AbortController();
    button.setAttribute("aria-pressed", "true");
    try {
      const answer = await fetch("/_loop/download", { signal: download.signal, cache: "no-store" });
      const reader = answer.body.getReader();
      while (!(await reader.read()).done) await pause(4000);
    } catch {
      // Let go of, by the reader or by the server.
    }
    download = null;
    button.setAttribute("aria-pressed", "false");
  });
}

for (const button of all("[data-record]")) {
  button.addEventListener("click", async () => {
    const last = feed.now?.record_of ?? null;
    try {
      if (feed.present) await feed.post("record");
    } catch (error) {
      one("[data-replay-say]").textContent = reason(error);
      return;
    }
    for (let tries = 0; feed.present && tries < 20 && feed.now.record_of === last; tries++) {
      await pause(100);
      await feed.ask("?record");
    }
    if (feed.now?.record) replay.play(feed.now.record);
  });
}

await feed.start();
if (feed.recorded && feed.now.record) replay?.play(feed.now.record);
