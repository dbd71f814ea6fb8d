// The loop's counters, asked for a few times a second. They only grow, so the page takes differences: a lost
// answer does no harm. Emits "frame" when there is something new and "state" when watching begins or ends.

const KEEP_MS = 60_000;

export class Feed extends EventTarget {
  #timer = 0;
  #asking = false;
  hz = 4;
  paused = matchMedia("(prefers-reduced-motion: reduce)").matches;
  present = null; // null: not known yet; true: this server has a loop to watch; false: it has not
  lost = false; // the last look was not answered
  recorded = false;
  samples = [];
  now = null; // the last answer

  async start() {
    await this.#ask("?history");
    if (this.present) {
      document.addEventListener("visibilitychange", () => this.#plan());
      this.#plan();
    }
  }

  setRate(hz) {
    this.hz = hz;
    this.#plan();
  }

  setPaused(paused) {
    this.paused = paused;
    this.#plan();
    this.#say();
  }

  get resting() {
    return this.paused || document.hidden || !this.present;
  }

  // Rates per second over the last `ms`, from counters.
  rates(ms = 1000) {
    const last = this.samples.at(-1);
    const first = this.samples.findLast((s) => s.at_ms <= last?.at_ms - ms) ?? this.samples[0];
    return first && last ? difference(first, last) : null;
  }

  // Asks once, now: after an action, or to read a recorded sweep.
  ask(query = "") {
    return this.#ask(query);
  }

  async post(action) {
    const answer = await fetch(`/_loop/${action}`, { method: "POST" });
    if (!answer.ok) throw new Error(await answer.text());
  }

  #plan() {
    clearInterval(this.#timer);
    if (!this.resting) this.#timer = setInterval(() => this.#ask(), 1000 / this.hz);
  }

  async #ask(query = "") {
    if (this.#asking && !query) return; // the loop sleeps longer than we wait: do not queue up behind it
    this.#asking = true;
    try {
      const answer = await fetch(`/_loop/stats.json${query}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const json = await answer.json();
      if (json.schema !== 1) throw new Error(`schema ${json.schema}`);
      this.present = true;
      this.lost = false;
      this.#take(json);
    } catch {
      if (this.present === null) {
        this.present = false;
        await this.#playRecording();
      } else {
        this.lost = true;
      }
    } finally {
      this.#asking = false;
    }
    this.#say();
  }

  // Another server, or a page opened from a disk: show what was recorded, and say that it is a recording.
  async #playRecording() {
    try {
      const answer = await fetch(new URL("only-recording.json", import.meta.url));
      if (answer.ok) {
        this.recorded = true;
        this.#take(await answer.json());
      }
    } catch {
      // Opened from a disk: the text stands alone.
    }
  }

  #take(json) {
    if (json.history) {
      const { fields, rows } = json.history;
      this.samples = rows.map((row) => Object.fromEntries(fields.map((field, at) => [field, row[at]])));
    }
    const last = this.samples.at(-1);
    if (last && json.at_ms < last.at_ms) this.samples = []; // the server was started anew
    if (json.at_ms !== this.samples.at(-1)?.at_ms) {
      this.samples.push({ ...json.stats, at_ms: json.at_ms, requests: json.requests });
    }
    // One that is older stays: after a long pause there is still something to compare with.
    while (this.samples[1]?.at_ms < json.at_ms - KEEP_MS) this.samples.shift();
    this.now = json;
    this.dispatchEvent(new Event("frame"));
  }

  #say() {
    this.dispatchEvent(new Event("state"));
  }
}

export function difference(first, last) {
  const seconds = Math.max((last.at_ms - first.at_ms) / 1000, 0.001);
  const rate = (field) => Math.max(last[field] - first[field], 0) / seconds;
  const share = (part, whole) => (rate(whole) > 0 ? rate(part) / rate(whole) : 0);
  return {
    sweeps: rate("sweeps"),
    idle: share("idle_sweeps", "sweeps"),
    accepts: rate("accepts"),
    acceptBlocked: share("accept_would_blocks", "accepts"),
    reads: rate("reads"),
    readBlocked: share("read_would_blocks", "reads"),
    writeBlocks: rate("write_would_blocks"),
    asleep: Math.min(rate("slept_ns") / 1e9, 1),
    requests: rate("requests"),
  };
}
