// The picture in the README: the first page, alive, with a hundred silent connections and the loop spinning.
//   BASE=http://127.0.0.1:7890 node screenshot.mjs chapter.png

import { chromium } from "playwright-core";

const base = process.env.BASE ?? "http://127.0.0.1:7890";
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 860, height: 1250 }, deviceScaleFactor: 1, colorScheme: "light" });
await page.goto(`${base}/`);
const post = (action) => page.evaluate((url) => fetch(url, { method: "POST" }), `${base}/_loop/${action}`);
await post("silent?n=100");
await page.waitForTimeout(4000);
await post("idle?strategy=spin");
await page.waitForTimeout(5000);
await post("idle?strategy=backoff");
await page.waitForTimeout(4000);
await post("idle?strategy=park");
await page.waitForTimeout(6000);
await page.locator('[data-live="on"]').first().evaluate((live) => live.scrollIntoView({ block: "start" }));
await page.evaluate(() => scrollBy(0, -30));
await page.screenshot({ path: process.argv[2] ?? "chapter.png", clip: { x: 90, y: 50, width: 680, height: 770 } });
await post("silent?n=0");
await post("idle?strategy=backoff");
await browser.close();
