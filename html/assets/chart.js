// A strip chart: the last 60 seconds, newest on the right, drawn on a canvas. Counts stand on a logarithmic axis,
// because between `spin` and `sleep:100ms` lie five decades; shares stand on a linear one.

const WINDOW_MS = 60_000;

export class StripChart {
  #canvas;
  #linear;
  #guess = null;

  constructor(canvas, { linear = false } = {}) {
    this.#canvas = canvas;
    this.#linear = linear;
  }

  // A reader's guess: drawn as a broken line from `at` on, before the real curve gets there.
  guess(at, value) {
    this.#guess = { at, value };
  }

  // points: [[at_ms, value], …], oldest first.
  draw(points, now) {
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(canvas);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);

    const left = 34;
    const room = 8; // seconds kept free on the right for a guess that reality has not reached
    const end = now + (this.#guess && now - this.#guess.at < 15_000 ? room * 1000 : 0);
    const x = (at) => left + (1 - (end - at) / WINDOW_MS) * (width - left - 2);
    const top = this.#linear ? 1 : this.#decades(points);
    const up = (value) => (this.#linear ? value : Math.log10(Math.max(value, 1)) / top);
    const y = (value) => height - 12 - Math.min(up(value), 1) * (height - 18);

    pen.font = "10px system-ui, sans-serif";
    pen.fillStyle = style.outlineColor;
    pen.strokeStyle = style.borderTopColor;
    pen.lineWidth = 1;
    for (const [value, label] of this.#ticks(top)) {
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(width, y(value));
      pen.stroke();
      pen.fillText(label, 2, y(value) + 3);
    }
    for (const seconds of [45, 30, 15]) pen.fillText(`−${seconds} s`, x(now - seconds * 1000) - 10, height - 1);

    pen.strokeStyle = style.color;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawn = false;
    for (const [at, value] of points) {
      if (x(at) < left) continue;
      if (drawn) pen.lineTo(x(at), y(value));
      else pen.moveTo(x(at), y(value));
      drawn = true;
    }
    pen.stroke();

    if (this.#guess && x(this.#guess.at) > left) {
      pen.strokeStyle = style.caretColor;
      pen.setLineDash([5, 4]);
      pen.beginPath();
      pen.moveTo(x(this.#guess.at), y(this.#guess.value));
      pen.lineTo(Math.min(x(this.#guess.at + 15_000), width), y(this.#guess.value));
      pen.stroke();
      pen.setLineDash([]);
    }
  }

  #decades(points) {
    const most = Math.max(10, this.#guess?.value ?? 0, ...points.map(([, value]) => value));
    return Math.ceil(Math.log10(most) + 0.05);
  }

  #ticks(top) {
    if (this.#linear) return [[0, "0"], [0.5, "50%"], [1, "100%"]];
    const ticks = [];
    for (let decade = 0; decade <= top; decade += top > 4 ? 2 : 1) ticks.push([10 ** decade, short(10 ** decade)]);
    return ticks;
  }
}

export function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e3 ? `${value / 1e3}k` : String(value);
}
