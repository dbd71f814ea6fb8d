// One real sweep, recorded with the time of every step, and played back slowly. Nothing here is invented: the
// lengths are nanoseconds that the loop measured, and reading the clock around each step is part of them.

const SHOWN = 48;
const LASTS_MS = 8000;

export class Replay {
  #list;
  #say;
  #zh;
  #frame = 0;

  constructor(list, say, zh) {
    this.#list = list;
    this.#say = say;
    this.#zh = zh;
  }

  play(record) {
    cancelAnimationFrame(this.#frame);
    const steps = record.rows.map((row) => Object.fromEntries(record.fields.map((field, at) => [field, row[at]])));
    if (!steps.length) return;
    const shown = steps.slice(0, SHOWN);
    const end = shown.at(-1).to_ns;
    const whole = steps.at(-1).to_ns;
    const items = shown.map((step) => this.#item(step, end));
    this.#list.replaceChildren(...items);

    const hidden = steps.length - shown.length + record.more;
    const slower = Math.round((LASTS_MS * 1e6) / end);
    const us = (ns) => `${(ns / 1000).toFixed(1)} µs`;
    this.#say.textContent = this.#zh
      ? `第 ${record.sweep} 轮，共 ${us(whole)}，放慢 ${slower.toLocaleString("zh")} 倍。` + (hidden ? `后面还有 ${hidden} 步没有画出。` : "")
      : `Sweep ${record.sweep}, ${us(whole)} in all, slowed down ${slower.toLocaleString("en")} times.` + (hidden ? ` ${hidden} further steps are not drawn.` : "");

    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      for (const item of items) item.classList.add("done");
      return;
    }
    const began = performance.now();
    const tick = (now) => {
      const at = ((now - began) / LASTS_MS) * end;
      shown.forEach((step, index) => items[index].classList.toggle("done", step.from_ns <= at));
      if (at < end) this.#frame = requestAnimationFrame(tick);
    };
    this.#frame = requestAnimationFrame(tick);
  }

  #item(step, end) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = step.call === "turn" ? `client ${step.id}` : step.call;
    const bar = document.createElement("i");
    bar.style.setProperty("--from", `${(100 * step.from_ns) / end}%`);
    bar.style.setProperty("--wide", `${(100 * (step.to_ns - step.from_ns)) / end}%`);
    const what = document.createElement("span");
    const worked = step.attempts > step.would_blocks;
    item.classList.toggle("work", worked);
    const moved = step.bytes_in + step.bytes_out;
    const result = step.attempts === 0 ? "–" : worked ? (moved ? `${moved} B` : "Ok") : "WouldBlock";
    what.textContent = `${step.to_ns - step.from_ns} ns ${result}`;
    item.append(name, bar, what);
    return item;
  }
}
