// A long recording in a folder of somebody's own: the browser plays it and jumps in it by ranges, without fetching
// all of it. MEDIA=/path/to/a/video plays that instead of the sound made here.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, openSync, rmSync, statSync, writeSync, closeSync, ftruncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const folder = mkdtempSync(join(tmpdir(), "wouldblock-recording-"));
const name = `recording${process.env.MEDIA ? extname(process.env.MEDIA) : ".wav"}`;

// Ten minutes of silence at 48 kHz, stereo, 16 bits: 115 MB that take no place on the disk.
function record(path) {
  const rate = 48_000, bytes = rate * 4 * 600;
  const head = Buffer.alloc(44);
  head.write("RIFF", 0); head.writeUInt32LE(36 + bytes, 4); head.write("WAVEfmt ", 8); head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20); head.writeUInt16LE(2, 22); head.writeUInt32LE(rate, 24); head.writeUInt32LE(rate * 4, 28);
  head.writeUInt16LE(4, 32); head.writeUInt16LE(16, 34); head.write("data", 36); head.writeUInt32LE(bytes, 40);
  const file = openSync(path, "w");
  writeSync(file, head);
  ftruncateSync(file, 44 + bytes);
  closeSync(file);
}

let server, base, browser;
before(async () => {
  const path = join(folder, name);
  if (process.env.MEDIA) copyFileSync(process.env.MEDIA, path); else record(path);
  writeFileSync(join(folder, "index.html"), `<!doctype html><title>x</title><video controls preload="metadata" src="${name}"></video>`);
  server = spawn(process.env.BINARY, [folder, "-q", "-p", "0"], { stdio: ["ignore", "ignore", "pipe"] });
  base = await new Promise((resolve, reject) => {
    let said = "";
    server.stderr.on("data", (piece) => {
      said += piece;
      const url = said.match(/ on (http:\S+)\n/);
      if (url) resolve(url[1]);
    });
    server.on("exit", () => reject(new Error(`ended: ${said}`)));
  });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
  });
});
after(async () => {
  await browser?.close();
  server?.kill();
  rmSync(folder, { recursive: true });
});

test("the browser plays a recording and jumps in it by ranges", async () => {
  const page = await browser.newPage();
  const starts = [];
  page.on("response", (response) => {
    const range = response.headers()["content-range"]?.match(/^bytes (\d+)-\d+\/(\d+)$/);
    if (response.url().endsWith(name) && range) starts.push([response.status(), Number(range[1]), Number(range[2])]);
  });
  await page.goto(base);
  await page.waitForFunction(() => document.querySelector("video").readyState >= 1);
  await page.evaluate(() => document.querySelector("video").play());
  await page.waitForFunction(() => document.querySelector("video").currentTime > 0.2);
  const duration = await page.evaluate(() => document.querySelector("video").duration);
  await page.evaluate((time) => { document.querySelector("video").currentTime = time; }, duration * 0.9);
  await page.waitForFunction((time) => {
    const video = document.querySelector("video");
    return !video.seeking && video.currentTime > time + 0.2;
  }, duration * 0.9);
  const size = statSync(join(folder, name)).size;
  assert.ok(starts.every(([status, , total]) => status === 206 && total === size), JSON.stringify(starts));
  assert.ok(starts.some(([, first]) => first > size / 2), `jumped by a range: ${JSON.stringify(starts)}`);
});
