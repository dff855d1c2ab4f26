// Engines and host in figures: readiness, capacity, what is known of speed, RAM.

import { $, h, setText } from "./dom.js";
import * as format from "./format.js";

const known = (value, words) => (value === null || value === undefined ? "–" : words(value));

export class Engines {
  constructor() {
    this.cards = new Map();
  }

  show(state) {
    for (const [name, one] of Object.entries(state.engines)) {
      if (!this.cards.has(name)) this.cards.set(name, this.card(name));
      this.fill(this.cards.get(name), figures(one));
    }
    const [first] = Object.values(state.engines);
    if (!this.cards.has("host")) this.cards.set("host", this.card("Host"));
    this.fill(this.cards.get("host"), host(first, state));
  }

  card(name) {
    const list = h("dl", { class: "facts" });
    $("engine-cards").append(h("div", { class: "card" }, h("h3", {}, name), list));
    return { list, values: new Map() };
  }

  fill({ list, values }, pairs) {
    for (const [name, text] of pairs) {
      if (!values.has(name)) {
        const value = h("dd", {});
        values.set(name, value);
        list.append(h("dt", {}, name), value);
      }
      setText(values.get(name), text);
    }
  }
}

function figures(one) {
  const { engine, scheduler, optimizer } = one;
  const { service, capacity } = scheduler;
  const ago = engine.proved_at === null ? null : Math.max(0, scheduler.at - engine.proved_at);
  return [
    ["Ready", engine.is_ready ? "yes" : `no: ${engine.cause}`],
    ["Models", engine.models.join(", ") || "–"],
    ["Last proof", known(ago, (value) => `${format.seconds(value)} ago`)],
    ["Small completion", known(engine.probe_s, format.seconds)],
    ["Restarts", String(engine.restarts)],
    ["Slots", format.count(capacity.requests)],
    ["KV cache", known(capacity.kv_tokens, (value) => `${format.count(value)} tokens`)],
    ["Context", known(capacity.context_tokens, (value) => `${format.count(value)} tokens`)],
    ["Gauges", known(scheduler.telemetry_age_s, (value) => `${format.seconds(value)} old${scheduler.is_telemetry_stale ? ", too old" : ""}`)],
    ["Its own queue", known(scheduler.engine.waiting, format.count)],
    ["Prefixes cached", known(scheduler.cached_share, format.percent)],
    ["Decode step", stepsOf(service)],
    ["Prompt token", known(service.prefill_s_per_token, (value) => (value < 0.001 ? `${(value * 1e6).toFixed(0)} µs` : format.seconds(value)))],
    ["Optimizer", optimizer.is_enabled ? (optimizer.is_warm ? "on, began warm" : "on, began cold") : "off"],
  ];
}

function stepsOf(service) {
  const steps = Object.entries(service.steps_s ?? {});
  if (!steps.length) return "not known yet";
  const shown = steps.length > 3 ? [steps[0], steps[steps.length >> 1], steps[steps.length - 1]] : steps;
  return shown.map(([batch, step]) => `${format.seconds(step)} at ${batch}`).join(", ");
}

function host(one, state) {
  const { host: sample, guard } = one.scheduler;
  return [
    ["RAM free", `${format.bytes(sample.ram_available_bytes)} of ${format.bytes(sample.ram_total_bytes)}`],
    ["Guard", guard.why ? `${guard.level}: ${guard.why.message}` : guard.level],
    ["Floors", `${format.bytes(guard.floors.hold)} hold, ${format.bytes(guard.floors.shed)} shed, ${format.bytes(guard.floors.hard)} hard`],
    ["In 10 s", known(guard.forecast_bytes, format.bytes)],
    ["Stalls (PSI full)", known(sample.psi_full_percent, (value) => `${value.toFixed(1)} %`)],
    ["Swap", known(sample.swap_used_bytes, format.bytes)],
    ["Engine’s RAM", known(sample.engine_rss_bytes, format.bytes)],
    ["Stoker up for", format.seconds(state.uptime_s)],
  ];
}
