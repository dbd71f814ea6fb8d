// The two sliders of “How long to sleep”: a formula, not a measurement, and it says so.

const zh = document.documentElement.lang.startsWith("zh");
const box = document.querySelector("[data-sleep]");
const [t, n] = [box.querySelector("[data-t]"), box.querySelector("[data-n]")];
const DOOR = 1e-6; // seconds: an accept that would block, see the page on costs
const READ = 139e-9; // seconds: a read that would block

const time = (s) => {
  if (s >= 1) return `${s.toFixed(2)} s`;
  if (s >= 1e-3) return `${(s * 1e3).toPrecision(3)} ms`;
  return `${(s * 1e6).toPrecision(3)} µs`;
};
const count = (x) => (x >= 10 ? Math.round(x).toLocaleString(zh ? "zh" : "en") : x.toPrecision(2));

function draw() {
  const sleep = Number(t.value) === 0 ? 0 : 10 ** (Number(t.value) - 6);
  const clients = Number(n.value) === 0 ? 0 : Math.round(10 ** Number(n.value));
  const sweep = DOOR + clients * READ;
  const cycle = sweep + sleep;
  const cpu = `${((100 * sweep) / cycle).toPrecision(3)} %`;
  box.querySelector("[data-t-out]").value = time(sleep);
  box.querySelector("[data-n-out]").value = String(clients);
  t.setAttribute("aria-valuetext", time(sleep));
  n.setAttribute("aria-valuetext", String(clients));
  box.querySelector("[data-result]").textContent = zh
    ? `一轮 ${time(sweep)}，每秒 ${count(1 / cycle)} 轮，占一个核的 ${cpu}；一个请求平均多等 ${time(cycle / 2)}，最坏 ${time(cycle)}。`
    : `A sweep takes ${time(sweep)}; ${count(1 / cycle)} sweeps a second, ${cpu} of a core; a request waits ${time(cycle / 2)} longer on average, ${time(cycle)} at worst.`;
}

for (const input of [t, n]) input.addEventListener("input", draw);
draw();
