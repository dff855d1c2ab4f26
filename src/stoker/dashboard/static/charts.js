// The charts: what each one draws, and uPlot around it. Times are shared by all of them.

import { h, setText } from "./dom.js";
import * as format from "./format.js";

const { CLASSES } = format;
const HEIGHT = 170;
const SYNC = "stoker";

// `pick` is what the buttons above the charts say: which tokens, which percentile.
const CHARTS = [
  {
    title: "Throughput",
    unit: "tok/s",
    show: format.count,
    series: (pick) =>
      CLASSES.map((name) => ({
        label: name.toUpperCase(),
        color: name,
        read: (get) => rate(get, name, pick.tokens),
      })),
  },
  {
    title: "Tokens in flight",
    unit: "tokens",
    show: format.count,
    series: () => [
      { label: "actual", color: "ink", fill: true, read: (get) => get("held_tokens") },
      { label: "predicted at their ends", color: "violet", read: (get) => get("predicted_final_tokens") },
      { label: "KV peak forecast", color: "ochre", read: (get) => get("kv_peak_forecast_tokens") },
      { label: "ceiling", color: "ink", dash: [6, 4], read: (get) => get("ceiling_tokens") },
    ],
  },
  {
    title: "Running, and learned ceilings",
    unit: "requests",
    show: format.count,
    series: () => [
      ...CLASSES.map((name) => ({
        label: name.toUpperCase(),
        color: name,
        read: (get) => get(`${name}_running`),
      })),
      ...["p1", "p2"].map((name) => ({
        label: `${name.toUpperCase()} ceiling`,
        color: name,
        dash: [6, 4],
        read: (get) => get(`${name}_ceiling`),
      })),
    ],
  },
  {
    title: "Queues",
    unit: "waiting",
    show: format.count,
    series: () => [
      ...CLASSES.map((name) => ({
        label: name.toUpperCase(),
        color: name,
        read: (get) => get(`${name}_waiting`),
      })),
      { label: "jobs stored", color: "ink", dash: [2, 3], read: (get) => get("jobs_waiting") },
    ],
  },
  {
    title: "Oldest wait",
    unit: "s",
    show: format.seconds,
    axis: secondsOnAxis,
    series: () =>
      CLASSES.map((name) => ({
        label: name.toUpperCase(),
        color: name,
        read: (get) => get(`${name}_oldest_wait_s`) ?? 0,
      })),
  },
  {
    title: "Time to first token",
    unit: "s",
    show: format.seconds,
    axis: secondsOnAxis,
    series: (pick) =>
      CLASSES.map((name) => ({
        label: `${name.toUpperCase()} ${pick.percentile}`,
        color: name,
        read: (get) => get(`${name}_ttft_${pick.percentile}_s`),
      })),
  },
  {
    title: "Time between tokens",
    unit: "s",
    show: format.seconds,
    axis: secondsOnAxis,
    series: (pick) =>
      CLASSES.map((name) => ({
        label: `${name.toUpperCase()} ${pick.percentile}`,
        color: name,
        read: (get) => get(`${name}_itl_${pick.percentile}_s`),
      })),
  },
  {
    title: "KV cache in use",
    unit: "share",
    show: format.percent,
    range: () => [0, 1],
    series: () => [{ label: "in use", color: "ink", fill: true, read: (get) => get("kv_cache_usage") }],
  },
  {
    title: "Host RAM available",
    unit: "GiB",
    show: format.bytes,
    axis: (value) => String(value / 2 ** 30),
    splits: gibSplits,
    series: (pick) => [
      { label: "MemAvailable", color: "ink", fill: true, read: (get) => get("ram_available_bytes") },
      { label: "holds below", color: "ochre", dash: [6, 4], read: () => pick.floors?.hold ?? null },
      { label: "sheds below", color: "bad", dash: [2, 3], read: () => pick.floors?.shed ?? null },
    ],
  },
];

function rate(get, name, tokens) {
  const prompt = get(`${name}_prompt_tokens_per_s`);
  const output = get(`${name}_output_tokens_per_s`);
  if (tokens === "prompt") return prompt;
  if (tokens === "output") return output;
  return prompt === null ? null : prompt + output;
}

export class Charts {
  constructor(host, pick) {
    this.pick = pick;
    this.boxes = CHARTS.map((chart) => new Box(chart, host));
    this.hasLibrary = typeof uPlot === "function";
    if (!this.hasLibrary) {
      host.replaceChildren(
        h("p", { class: "empty" }, "Charts need the package youplot beside Stoker; the numbers above do not."),
      );
      return;
    }
    new ResizeObserver(() => this.boxes.forEach((box) => box.resize())).observe(host);
  }

  // Make them anew: the colours have changed, or what they draw.
  rebuild() {
    if (this.hasLibrary) this.boxes.forEach((box) => box.build(this.pick));
  }

  draw(history, engine, nowS) {
    if (!this.hasLibrary) return;
    for (const box of this.boxes) box.draw(history, engine, nowS, this.pick);
  }
}

class Box {
  constructor(chart, host) {
    this.chart = chart;
    this.hidden = new Set();
    this.legend = h("ul", { class: "legend" });
    this.time = h("span", { class: "when" });
    this.empty = h("p", { class: "empty over" }, "nothing yet");
    this.canvas = h("div", { class: "plot", role: "img" });
    const title = h("h3", {}, chart.title, h("small", {}, ` ${chart.unit}`));
    this.figure = h(
      "figure",
      { class: "chart" },
      h("figcaption", {}, title, this.time),
      this.canvas,
      this.legend,
    );
    host.append(this.figure);
  }

  build(pick) {
    this.plot?.destroy();
    this.series = this.chart.series(pick);
    this.values = this.series.map(() => h("b"));
    this.legend.replaceChildren(...this.series.map((one, index) => this.entry(one, index)));
    this.plot = new uPlot(this.options(), [[], ...this.series.map(() => [])], this.canvas);
    this.canvas.append(this.empty);
  }

  entry(one, index) {
    const swatch = h("i", { class: one.dash ? "dashed" : "", style: { color: `var(--${one.color})` } });
    const button = h(
      "button",
      {
        "aria-pressed": String(!this.hidden.has(one.label)),
        title: "show or hide",
        onclick: () => {
          const isHidden = !this.hidden.delete(one.label);
          if (isHidden) this.hidden.add(one.label);
          button.setAttribute("aria-pressed", String(!isHidden));
          this.plot.setSeries(index + 1, { show: !isHidden });
        },
      },
      swatch,
      one.label,
    );
    return h("li", {}, button, this.values[index]);
  }

  options() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    this.shadeColor = color("p0-soft");
    const axis = {
      stroke: color("muted"),
      grid: { stroke: color("grid"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    };
    return {
      width: this.width(),
      height: HEIGHT,
      legend: { show: false },
      padding: [8, 22, 0, 0],
      cursor: { sync: { key: SYNC }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => this.range ?? [0, 1] },
        y: { range: (plot, low, high) => this.chart.range?.() ?? [0, above(high)] },
      },
      axes: [
        { ...axis, size: 26, values: (plot, ticks) => ticks.map(hourAndMinute) },
        {
          ...axis,
          size: 54,
          gap: 4,
          values: (plot, ticks) => ticks.map(this.chart.axis ?? this.chart.show),
          ...(this.chart.splits ? { splits: (plot, i, low, high) => this.chart.splits(high) } : {}),
        },
      ],
      series: [
        {},
        ...this.series.map((one) => ({
          stroke: color(one.color),
          width: one.width ?? (one.dash ? 1.25 : 1.75),
          dash: one.dash,
          fill: one.fill ? `${color(one.color)}22` : undefined,
          points: { show: (plot, index) => isAlone(plot.data[index]) },
          show: !this.hidden.has(one.label),
        })),
      ],
      hooks: { drawClear: [(plot) => this.shade(plot)], setCursor: [() => this.showValues()] },
    };
  }

  draw(history, engine, nowS, pick) {
    // A young service fills the width with what there is, a minute at least.
    const first = history.first(engine) ?? nowS;
    this.range = [Math.max(nowS - pick.spanS, Math.min(first, nowS - 60)), nowS];
    this.held = history.table(engine, this.range[0] - 30, [(get) => get("is_p0_held")]);
    const table = history.table(engine, this.range[0] - 30, this.series.map((one) => one.read));
    const isEmpty = table.slice(1).every((column) => column.every((value) => value === null));
    this.empty.hidden = !isEmpty;
    this.plot.setData(table);
    this.showValues();
  }

  // Where P0 held the box, behind everything.
  shade(plot) {
    if (!this.held) return;
    const [times, held] = this.held;
    const { left, top, width, height } = plot.bbox;
    plot.ctx.save();
    plot.ctx.fillStyle = this.shadeColor;
    plot.ctx.globalAlpha = 0.6;
    for (let index = 1; index < times.length; index += 1) {
      if (!held[index]) continue;
      const from = Math.max(left, plot.valToPos(times[index - 1], "x", true));
      const to = Math.min(left + width, plot.valToPos(times[index], "x", true));
      if (to > from) plot.ctx.fillRect(from, top, to - from, height);
    }
    plot.ctx.restore();
  }

  // The values under the cursor, or the latest.
  showValues() {
    const { data, cursor } = this.plot;
    const index = cursor.idx ?? data[0].length - 1;
    const isPast = cursor.idx !== null && cursor.idx !== undefined;
    setText(this.time, isPast && data[0][index] ? format.clock(data[0][index]) : "");
    const words = this.series.map((one, place) => {
      const value = data[place + 1][index] ?? null;
      const text = (one.show ?? this.chart.show)(value);
      setText(this.values[place], text);
      return `${one.label} ${text}`;
    });
    if (!isPast) this.canvas.setAttribute("aria-label", `${this.chart.title}: ${words.join(", ")}`);
  }

  resize() {
    const width = this.width();
    if (this.plot && this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }

  width() {
    return Math.max(200, this.canvas.clientWidth);
  }
}

function above(high) {
  if (!high || high <= 0) return 1;
  return high * 1.12;
}

function secondsOnAxis(value) {
  if (value === 0) return "0";
  return value < 1 ? `${Math.round(value * 1000)} ms` : value < 120 ? `${value} s` : `${value / 60} min`;
}

function gibSplits(high) {
  const gib = high / 2 ** 30;
  const steps = [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
  const step = steps.find((one) => gib / one <= 5) ?? 1024;
  const splits = [];
  for (let at = 0; at <= gib; at += step) splits.push(at * 2 ** 30);
  return splits;
}

function hourAndMinute(at) {
  const when = new Date(at * 1000);
  const seconds = when.getSeconds() ? `:${String(when.getSeconds()).padStart(2, "0")}` : "";
  return `${when.getHours()}:${String(when.getMinutes()).padStart(2, "0")}${seconds}`;
}

// A single row would be no line at all.
function isAlone(column) {
  return column.filter((value) => value !== null).length === 1;
}
