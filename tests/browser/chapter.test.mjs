// The chapter in a real browser, served by our own server: `run.sh` starts both. One test per promise; the
// server's own counters are the witness wherever a button is said to change the loop.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";

const base = process.env.BASE;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const slugs = ["", "blocking", "wouldblock", "connection", "stream", "http", "cost", "sleep", "errata", "models", "epoll", "claims", "glossary"];
const path = (language, slug) => (slug ? `/${language}/${slug}.html` : language === "zh" ? "/" : "/en/");
const pages = ["zh", "en"].flatMap((language) => slugs.map((slug) => path(language, slug)));

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(() => browser.close());

const stats = async (query = "") => (await fetch(`${base}/_loop/stats.json${query}`)).json();
const post = async (action) => {
  const answer = await fetch(`${base}/_loop/${action}`, { method: "POST", headers: { Origin: base } });
  assert.equal(answer.status, 200, action);
};
// Waits until the server or the page says so; only a bound against hanging, never a measurement.
async function until(what, holds, bound = 20_000) {
  const end = Date.now() + bound;
  while (Date.now() < end) {
    if (await holds()) return;
    await new Promise((go) => setTimeout(go, 100));
  }
  assert.fail(`never came: ${what}`);
}
async function open(options, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const trouble = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && trouble.push(message.text()));
  page.on("pageerror", (error) => trouble.push(error.message));
  page.on("request", (request) => new URL(request.url()).origin === base || trouble.push(`third party: ${request.url()}`));
  if (url) {
    await page.goto(base + url);
    await page.waitForLoadState("load");
  }
  return { context, page, trouble };
}
const isLive = (page) => until("a live page", () => page.locator('[data-live="on"]').count());

for (const scheme of ["light", "dark"]) {
  describe(`every page, ${scheme}`, () => {
    for (const url of pages) {
      test(url, async () => {
        const { context, page, trouble } = await open({ colorScheme: scheme }, url);
        if (await page.locator("[data-live]").count()) await isLive(page);
        assert.deepEqual(trouble, [], "no console message and no third-party request");
        for (const details of await page.locator("details").all()) await details.evaluate((d) => { d.open = true; });
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => window.axe.run(document));
        assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" | ")}`), []);
        const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const light = paper.match(/\d+/g).slice(0, 3).every((part) => Number(part) > 128);
        assert.equal(light, scheme === "light", `the paper is ${paper}`);
        await context.close();
      });
    }
  });
}

test("no name is cut in two in a table", async () => {
  const { context, page } = await open({ viewport: { width: 900, height: 800 } });
  for (const url of pages) {
    await page.goto(base + url);
    const cut = await page.locator("td code").evaluateAll((all) =>
      all.filter((code) => !/[\s\u2014-]/.test(code.textContent) && code.getClientRects().length > 1).map((code) => code.textContent));
    assert.deepEqual(cut, [], url);
  }
  await context.close();
});

test("nothing scrolls sideways at 320 pixels", async () => {
  const { context, page } = await open({ viewport: { width: 320, height: 640 } });
  for (const url of pages) {
    await page.goto(base + url);
    await page.waitForLoadState("load");
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 320, `${url} is ${width} wide`);
  }
  await context.close();
});

test("the switch of language keeps page and anchor, there and back", async () => {
  const { context, page } = await open({}, "/zh/stream.html");
  await page.locator("#explain").scrollIntoViewIfNeeded();
  await page.evaluate(() => document.querySelector("#explain").scrollIntoView());
  await page.locator("a.switch").focus();
  await page.keyboard.press("Enter");
  await page.waitForURL("**/en/stream.html#explain");
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
  await page.locator("a.switch").click();
  await page.waitForURL(/\/zh\/stream\.html/);
  await context.close();
});

test("a chosen theme holds on the next page, before the first paint", async () => {
  const { context, page } = await open({ colorScheme: "light" }, "/");
  await page.locator(".theme select").selectOption("dark");
  await page.goto(`${base}/en/`, { waitUntil: "commit" });
  await page.waitForSelector("body", { state: "attached" });
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
  await context.close();
});

test("the first tab stop skips to the text, and every control is reached by keyboard", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  const wanted = await page.locator("button:visible, [role=listbox]").count();
  const seen = new Set();
  for (let tabs = 0; tabs < 200 && seen.size < wanted; tabs++) {
    await page.keyboard.press("Tab");
    const what = await page.evaluate(() => {
      const e = document.activeElement;
      return e.matches("button, [role=listbox]") ? e.textContent + (e.dataset.post ?? e.getAttribute("role") ?? "") : null;
    });
    if (what !== null) seen.add(what);
  }
  assert.equal(seen.size, wanted);
  await context.close();
});

test("the numbers move while the loop spins and rest while it is parked", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  const sweeps = async () => Number((await page.locator('[data-total="sweeps"]').textContent()).replace(/\D/g, ""));
  await page.locator('[data-post="idle?strategy=spin"]').click();
  await until("spin at work", async () => (await stats()).settings.idle === "spin");
  const one = await sweeps();
  await until("a hundred thousand sweeps more", async () => (await sweeps()) > one + 100_000);
  await page.locator('[data-post="idle?strategy=park"]').click();
  await until("the loop parked", async () => (await stats()).settings.idle === "park");
  await page.locator("[data-pause]").click();
  await new Promise((go) => setTimeout(go, 500));
  const first = await stats();
  await new Promise((go) => setTimeout(go, 1000));
  const later = await stats();
  const between = later.stats.sweeps - first.stats.sweeps;
  assert.ok(between < 2000, `${between} sweeps in a second of rest: the page is paused and nobody else asks`);
  assert.ok(later.stats.waits > first.stats.waits, "it was asleep in poll(2)");
  await post("idle?strategy=backoff");
  await context.close();
});

test("a pause stops the page's requests, and hiding the page does too", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  let asked = 0;
  page.on("request", () => { asked += 1; });
  await until("looks", () => asked >= 3);
  await page.locator("[data-pause]").click();
  await new Promise((go) => setTimeout(go, 300));
  asked = 0;
  await new Promise((go) => setTimeout(go, 1500));
  assert.equal(asked, 0);
  await context.close();
});

test("reduced motion starts paused", async () => {
  const { context, page } = await open({ reducedMotion: "reduce" }, "/");
  await isLive(page);
  let asked = 0;
  page.on("request", () => { asked += 1; });
  await new Promise((go) => setTimeout(go, 1200));
  assert.equal(asked, 0);
  await page.locator("[data-pause]").click();
  await until("looks after going on", () => asked >= 2);
  await context.close();
});

test("silent connections appear in the Vec and go again", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  await page.locator('[data-post="silent?n=100"]').click();
  await until("a hundred dashed cells", async () => (await page.locator(".vec .ours").count()) === 100);
  assert.ok((await stats()).stats.clients_now >= 100);
  await page.locator('[data-post="silent?n=0"]').click();
  await until("none of them left", async () => (await page.locator(".vec .ours").count()) === 0);
  await context.close();
});

test("full and hot, and the handicap of one octet, are what the server then does", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  for (const kind of ["full", "hot"]) {
    await page.locator(`[data-post="sweep?kind=${kind}"]`).click();
    await until(`sweep ${kind}`, async () => (await stats()).settings.sweep === kind);
    await until("its button pressed", () => page.locator(`[data-post="sweep?kind=${kind}"][aria-pressed=true]`).count());
  }
  await page.locator('[data-post="read?limit=1"]').click();
  await until("one octet at a time", async () => (await stats()).settings.read_limit === 1);
  const before = (await stats()).stats;
  const answer = await fetch(`${base}/en/glossary.html`);
  assert.equal(answer.status, 200);
  const later = (await stats()).stats;
  const worked = later.reads - later.read_would_blocks - (before.reads - before.read_would_blocks);
  assert.ok(worked >= later.bytes_in - before.bytes_in - 8, `${worked} reads for ${later.bytes_in - before.bytes_in} octets`);
  await page.locator('[data-post="read?limit=0"]').click();
  await until("as usual", async () => (await stats()).settings.read_limit === null);
  await context.close();
});

test("a slow download stays at W while other pages are answered, and can be let go", async () => {
  const { context, page } = await open({}, "/");
  await isLive(page);
  const before = (await stats()).stats.write_would_blocks;
  await page.locator("[data-download]").click();
  await until("a cell at W", async () => (await page.locator(".vec .W").count()) > 0);
  await until("writes that would block", async () => (await stats()).stats.write_would_blocks > before);
  assert.equal((await fetch(`${base}/en/`)).status, 200);
  await page.locator("[data-download]").click();
  await until("no cell at W", async () => (await page.locator(".vec .W").count()) === 0);
  await context.close();
});

test("a guess is judged after the act", async () => {
  const { context, page } = await open({}, "/en/");
  await isLive(page);
  await until("rates", async () => (await page.locator('[data-chart="sweeps"] output').textContent()).length > 1);
  await new Promise((go) => setTimeout(go, 1200));
  await page.locator('input[name=guess][value="10"]').check();
  await page.locator('[data-post="idle?strategy=spin"]').click();
  await until("a verdict", async () => (await page.locator("[data-verdict]").textContent()).includes("Your guess was ×10"));
  await post("idle?strategy=backoff");
  await context.close();
});

test("a guess is judged by what came after the act on a paused page too", async () => {
  const { context, page } = await open({ reducedMotion: "reduce" }, "/");
  await isLive(page);
  await new Promise((go) => setTimeout(go, 1200));
  await page.locator('[data-post="idle?strategy=spin"]').click();
  await until("its button pressed", () => page.locator('[data-post="idle?strategy=spin"][aria-pressed=true]').count(), 2000);
  const verdict = async () => (await page.locator("[data-verdict]").textContent()).match(/刚才的 ×(1\/)?([\d.]+)/);
  await until("a verdict", verdict);
  const [, less, times] = await verdict();
  assert.ok(!less && Number(times) > 10, `spin after backoff, and ×${less ?? ""}${times}`);
  await post("idle?strategy=backoff");
  await context.close();
});

test("a loop that no longer answers is said to be silent, until it does", async () => {
  const { context, page, trouble } = await open({}, "/en/");
  await isLive(page);
  const said = () => page.locator("[data-live-state]").first().textContent();
  await page.route("**/_loop/**", (route) => route.abort());
  await until("it is said", async () => (await said()).includes("does not answer"));
  await new Promise((go) => setTimeout(go, 1000));
  assert.match(await said(), /does not answer/, "and stays said");
  await page.locator("[data-record]").click();
  await until("nothing to replay", async () => (await page.locator("[data-replay-say]").textContent()).includes("does not answer"));
  await page.locator('[data-post="sweep?kind=full"]').click();
  await until("nothing done", async () => (await page.locator("[data-verdict]").textContent()).includes("does not answer"));
  assert.deepEqual(trouble.filter((line) => !line.includes("ERR_FAILED")), []);
  await page.unroute("**/_loop/**");
  await until("it answers again", async () => (await said()).includes("Live"));
  await context.close();
});

test("a recorded sweep is replayed step by step", async () => {
  const { context, page } = await open({}, "/en/");
  await isLive(page);
  await page.locator('[data-post="sweep?kind=full"]').click();
  await until("sweep full", async () => (await stats()).settings.sweep === "full");
  await page.locator("[data-record]").click();
  await until("its steps", async () => (await page.locator(".steps li").count()) > 1);
  assert.match(await page.locator(".steps li").first().textContent(), /accept\d+ ns/);
  await until("the last step reached", async () => (await page.locator(".steps li:not(.done)").count()) === 0);
  await post("sweep?kind=hot");
  await context.close();
});

test("arrow keys choose a cell, and its story is told", async () => {
  const { context, page } = await open({}, "/en/");
  await isLive(page);
  await until("a cell", () => page.locator(".vec [role=option]").count());
  await page.locator("[data-vec]").focus();
  await page.keyboard.press("ArrowRight");
  await until("one chosen", () => page.locator('.vec [aria-selected="true"]').count());
  assert.match(await page.locator("[data-vec-detail]").textContent(), /octets in/);
  await post("silent?n=10");
  await until("more cells", async () => (await page.locator(".vec [role=option]").count()) > 10);
  const chosen = async () => (await page.locator('.vec [aria-selected="true"]').getAttribute("aria-label")).split(":")[0];
  for (let steps = 0; steps < 20; steps++) await page.keyboard.press("ArrowRight");
  await new Promise((go) => setTimeout(go, 600));
  const other = await chosen();
  await page.locator("[data-vec]").dispatchEvent("click"); // between the cells
  await new Promise((go) => setTimeout(go, 600));
  assert.equal(await chosen(), other, "a click between the cells chooses none");
  await post("silent?n=0");
  await context.close();
});

test("without scripts the text stands, and the snapshot has the same counters", async () => {
  const { context, page } = await open({ javaScriptEnabled: false }, "/");
  assert.ok((await page.locator("main").innerText()).length > 1000);
  assert.equal(await page.locator("button:visible").count(), 0, "nothing to press that would do nothing");
  await page.locator("noscript a").click();
  await page.waitForURL("**/_loop/");
  const sweeps = async () => Number(await page.locator("tbody tr").first().locator("td").first().textContent());
  const one = await sweeps();
  await page.reload();
  assert.ok((await sweeps()) > one);
  await page.reload();
  assert.ok((await page.locator("table").nth(1).locator("tbody tr").count()) > 0, "the clients are listed");
  await context.close();
});

test("another server: the page says so and plays the recording", async () => {
  const { context, page } = await open({});
  await page.route("**/_loop/**", (route) => route.fulfill({ status: 404, body: "nothing here" }));
  await page.goto(`${base}/en/`);
  await until("it is said", async () => (await page.locator("[data-live-state]").first().textContent()).includes("recording"));
  assert.ok((await page.locator(".vec [role=option]").count()) > 0, "the recorded Vec is drawn");
  assert.equal(await page.locator("button[data-post]:visible").count(), 0, "nothing to press that would do nothing");
  await context.close();
});

test("another page may neither act nor read", async () => {
  const { context, page } = await open({});
  await page.route("http://evil.example/", (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<p>evil" }));
  await page.goto("http://evil.example/");
  const before = await stats();
  const outcome = await page.evaluate(async (base) => {
    await fetch(`${base}/_loop/sweep?kind=full`, { method: "POST", mode: "no-cors" }).catch(() => {});
    return fetch(`${base}/_loop/stats.json`).then(() => "read", () => "refused");
  }, base);
  assert.equal(outcome, "refused");
  assert.equal((await stats()).settings.sweep, before.settings.sweep);
  await context.close();
});

test("printing unfolds the answers and leaves the controls out", async () => {
  const { context, page } = await open({}, "/zh/cost.html");
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator(".top").isVisible(), false);
  assert.equal(await page.locator("[data-pause]").isVisible(), false);
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  assert.equal(await page.locator("details:not([open])").count(), 0);
  await context.close();
});

test("the first page weighs less than 60 KB with all it loads", async () => {
  const { context, page } = await open({});
  let weight = 0;
  page.on("response", async (response) => {
    if (!response.url().includes("/_loop/")) weight += Number(response.headers()["content-length"] ?? 0);
  });
  await page.goto(`${base}/`);
  await isLive(page);
  assert.ok(weight > 20_000 && weight < 60_000, `${weight} octets`);
  await context.close();
});
