// What is now: tiles, the table of classes, the P0 lease, health.

import { json, post, remove } from "./api.js";
import { $, h, setText, setValue } from "./dom.js";
import * as format from "./format.js";

const { CLASSES, CLASS_NAMES } = format;

export class Now {
  constructor(onProblem) {
    this.onProblem = onProblem;
    this.rows = Object.fromEntries(CLASSES.map((name) => [name, classRow(name)]));
    $("classes").tBodies[0].append(...CLASSES.map((name) => this.rows[name].row));
    this.tiles = Object.fromEntries(TILES.map((tile) => [tile.name, new Tile(tile)]));
    $("tiles").append(...Object.values(this.tiles).map((tile) => tile.element));
    this.leases = [];
    this.leasesAt = 0;
    this.own = new Set(JSON.parse(sessionStorage.getItem("stoker-leases") ?? "[]"));
    $("lease-take").addEventListener("click", () => this.take());
    $("lease-release").addEventListener("click", () => this.release());
    setInterval(() => this.showLease(), 250);
  }

  // `one` is the chosen engine's part of the state, `get` reads its latest row.
  show(state, one, get) {
    for (const tile of Object.values(this.tiles)) tile.show(state, one, get);
    for (const name of CLASSES) showClass(this.rows[name], name, one, get);
    this.leases = one.scheduler.leases;
    this.leasesAt = performance.now();
    this.showLease(one.scheduler.is_p0_held);
    showHealth(state, one);
  }

  async take() {
    await this.try(async () => {
      const seconds = Number($("lease-seconds").value);
      const [held] = this.leases.filter((lease) => this.own.has(lease.lease_id));
      const path = held ? `v1/p0/lease/${held.lease_id}/extend` : "v1/p0/lease";
      const lease = await post(path, { seconds });
      this.own.add(lease.lease_id);
      sessionStorage.setItem("stoker-leases", JSON.stringify([...this.own].slice(-20)));
      await this.refresh();
    });
  }

  async release() {
    const others = this.leases.filter((lease) => !this.own.has(lease.lease_id)).length;
    const question = `${others} of the ${this.leases.length} leases were not taken on this page. Release all?`;
    if (others && !window.confirm(question)) return;
    await this.try(async () => {
      await Promise.all(this.leases.map((lease) => remove(`v1/p0/lease/${lease.lease_id}`)));
      await this.refresh();
    });
  }

  async refresh() {
    this.leases = (await json("v1/p0/lease")).data;
    this.leasesAt = performance.now();
    this.showLease();
  }

  async try(act) {
    try {
      await act();
    } catch (error) {
      this.onProblem(error.message);
    }
  }

  showLease(isHeld = this.isHeld) {
    this.isHeld = isHeld;
    const passed = (performance.now() - this.leasesAt) / 1000;
    const left = Math.max(0, ...this.leases.map((lease) => lease.expires_in_s - passed));
    const isLeased = left > 0;
    let text = isHeld ? "P0 is at work" : "P0 is free";
    if (isLeased) text = `P0 is held ${format.countdown(left)}`;
    if (this.leases.length > 1 && isLeased) text += ` (${this.leases.length} leases)`;
    setText($("lease-text"), text);
    $("lease-text").dataset.state = isLeased ? "held" : isHeld ? "busy" : "free";
    const isOwn = this.leases.some((lease) => this.own.has(lease.lease_id));
    setText($("lease-take"), isOwn && isLeased ? "Extend" : "Take P0");
    $("lease-release").hidden = !isLeased;
  }
}

const TILES = [
  {
    name: "Throughput",
    show: (state, one, get) => {
      const rates = CLASSES.flatMap((name) => [
        get(`${name}_prompt_tokens_per_s`),
        get(`${name}_output_tokens_per_s`),
      ]);
      const total = rates.includes(null) ? null : rates.reduce((sum, rate) => sum + rate, 0);
      const output = total === null ? null : rates[1] + rates[3] + rates[5];
      return [total, `${format.count(total)} tok/s`, `${format.count(output)} of it output`];
    },
  },
  {
    name: "Tokens in flight",
    show: (state, one) => {
      const { held_tokens: held, predicted_final_tokens: predicted, limits } = one.scheduler;
      const most = limits.tokens ?? one.scheduler.capacity.kv_tokens;
      return [
        held,
        format.count(held),
        `${format.count(predicted)} predicted at their ends, ceiling ${format.count(most)}`,
        most ? [held / most, predicted / most] : null,
      ];
    },
  },
  {
    name: "KV cache",
    show: (state, one) => {
      const usage = one.scheduler.engine.kv_cache_usage;
      const capacity = one.scheduler.capacity.kv_tokens;
      return [
        usage,
        format.percent(usage),
        capacity ? `of ${format.count(capacity)} tokens` : "the engine does not say its size",
        usage === null ? null : [usage],
      ];
    },
  },
  {
    name: "Host RAM",
    show: (state, one) => {
      const { ram_available_bytes: available, ram_total_bytes: total } = one.scheduler.host;
      const { floors, level, why } = one.scheduler.guard;
      const note = why ? why.message : `free; the floor is ${format.bytes(floors.hold)}`;
      const share = total ? [1 - available / total] : null;
      return [available, format.bytes(available), note, share, level !== "ok"];
    },
  },
  {
    name: "Jobs waiting",
    show: (state, one) => {
      const { available, retryable, scheduled, running, discarded } = one.jobs;
      const note = `${format.count(running)} run, ${format.count(scheduled + retryable)} later`;
      const lost = discarded ? `, ${format.count(discarded)} given up` : "";
      return [available, format.count(available), note + lost];
    },
  },
  {
    name: "Preemptions",
    show: (state, one) => {
      const { preemptions, p2_beside_p0: beside } = one.scheduler;
      return [preemptions, format.count(preemptions), `${format.count(beside)} P2 may stay beside P0`];
    },
  },
];

class Tile {
  constructor({ name, show }) {
    this.read = show;
    this.value = h("strong", { "data-tile": name });
    this.note = h("span");
    this.bar = h("div", { class: "bar-of", "aria-hidden": "true" });
    this.element = h("div", { class: "tile" }, h("h3", {}, name), this.value, this.note, this.bar);
  }

  show(state, one, get) {
    const [value, text, note, shares, isBad] = this.read(state, one, get);
    setValue(this.value, value, text);
    setText(this.note, note);
    this.element.classList.toggle("bad", Boolean(isBad));
    const widths = (shares ?? []).map((share) => `${Math.min(100, share * 100).toFixed(1)}%`);
    while (this.bar.children.length < widths.length) this.bar.append(h("i"));
    widths.forEach((width, index) => {
      this.bar.children[index].style.width = width;
    });
    this.bar.hidden = !widths.length;
  }
}

const CELLS = [
  ["running", (one, name) => one.scheduler.classes[name].running, format.count],
  ["ceiling", (one, name) => one.scheduler.limits[`requests_${name}`], ceiling],
  ["waiting", (one, name) => one.scheduler.classes[name].waiting, format.count],
  ["oldest_wait_s", (one, name) => one.scheduler.classes[name].oldest_wait_s, format.seconds],
  ["prompt", (one, name, get) => get(`${name}_prompt_tokens_per_s`), format.count],
  ["output", (one, name, get) => get(`${name}_output_tokens_per_s`), format.count],
  ["total", (one, name, get) => sum(get(`${name}_prompt_tokens_per_s`), get(`${name}_output_tokens_per_s`)), format.count],
  ["ttft_p50_s", (one, name) => one.meters[name].ttft_p50_s, format.seconds],
  ["ttft_p95_s", (one, name) => one.meters[name].ttft_p95_s, format.seconds],
  ["itl_p50_s", (one, name) => one.meters[name].itl_p50_s, format.seconds],
  ["itl_p95_s", (one, name) => one.meters[name].itl_p95_s, format.seconds],
];

const NARROW = new Set(["running", "waiting", "total", "ttft_p95_s"]); // what a phone has room for

function ceiling(value) {
  return value === null ? "none" : format.count(value);
}

function sum(one, other) {
  return one === null || other === null ? null : one + other;
}

function classRow(name) {
  const cells = CELLS.map(([field]) => h("td", { "data-field": `${name}.${field}`, class: NARROW.has(field) ? "" : "wide" }));
  const why = h("td", { class: "left why", "data-field": `${name}.blocked_by` });
  const head = h("th", { scope: "row" }, h("span", { class: `badge ${name}` }, name.toUpperCase()), CLASS_NAMES[name].slice(2));
  return { row: h("tr", {}, head, ...cells, why), cells, why };
}

function showClass({ cells, why }, name, one, get) {
  CELLS.forEach(([, read, show], index) => {
    const value = read(one, name, get);
    setValue(cells[index], value, show(value));
  });
  let { blocked_by: blocked } = one.scheduler.classes[name];
  let text = blocked ? blocked.message : "";
  if (!blocked && name === "p2" && one.background_waits_for) {
    blocked = { reason: one.background_waits_for };
    text = `stored jobs: ${one.background_waits_for.replaceAll("_", " ")}`;
  }
  setValue(why, blocked?.reason ?? null, text || "nobody waits");
  why.classList.toggle("quiet", !text);
}

function showHealth(state, one) {
  const { is_ready: isReady, cause, name } = one.engine;
  const isDraining = one.scheduler.is_draining;
  const health = $("health");
  health.dataset.state = isReady && !isDraining ? "good" : "bad";
  setText(health, isDraining ? "shutting down" : isReady ? `${name} is ready` : `${name}: ${cause}`);
}
