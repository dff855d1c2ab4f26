// One request or job from arrival to leaving: a bar of what it did when, its entries, its document.

import { json, post, remove } from "./api.js";
import { $, h } from "./dom.js";
import * as format from "./format.js";

const WORDS = {
  arrived: "arrived",
  waits: "waits",
  dispatched: "started",
  first_token: "first token",
  gives_way: "gives way to P0",
  preempted: "went back to the store, its text kept",
  finished: "finished",
  failed: "failed",
  cancelled: "cancelled",
  rejected: "refused",
  aborted: "broken off",
};
const SECONDS = new Set(["waited_s"]);

export class Story {
  constructor(onChange) {
    this.onChange = onChange;
    this.id = null;
    this.offset = 0; // wall time less the service's monotonic time
    this.dialog = $("story");
    $("story-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    setInterval(() => this.refresh(), 2000);
  }

  async open(id) {
    this.id = id;
    this.shown = "";
    $("story-title").textContent = id;
    $("story-body").replaceChildren(h("p", { class: "empty" }, "…"));
    if (!this.dialog.open) this.dialog.showModal();
    await this.refresh();
  }

  async refresh() {
    if (!this.dialog.open || document.hidden) return;
    const { id } = this;
    const [story, job] = await Promise.all([
      json(`v1/fabric/explain/${encodeURIComponent(id)}`).catch((error) => ({ error })),
      id.startsWith("job_") ? json(`v1/p2/${encodeURIComponent(id)}`).catch(() => null) : null,
    ]);
    const seen = JSON.stringify([story, job, story.error?.message]);
    if (id !== this.id || seen === this.shown) return;
    this.shown = seen;
    this.draw(story, job);
  }

  draw(story, job) {
    const body = $("story-body");
    if (story.error) {
      body.replaceChildren(h("p", { class: "empty" }, story.error.message));
      return;
    }
    const { entries } = story;
    body.replaceChildren(
      facts(story, job),
      job ? this.actions(job) : "",
      entries.length ? bar(entries, story.state) : h("p", { class: "empty" }, "it has not been claimed in this life of the service"),
      h("ol", { class: "entries" }, ...entries.map((entry) => this.entry(entry, entries[0].at))),
      job?.error ? h("p", { class: "fault" }, `${job.error.code}: ${job.error.message}`) : "",
      job?.result ? result(job.result) : "",
    );
  }

  entry(entry, beganAt) {
    const { at, what, ...fields } = entry;
    const words = what === "waits" ? `waits: ${fields.reason}` : (WORDS[what] ?? what);
    const details = Object.entries(fields)
      .filter(([name, value]) => value !== null && name !== "reason")
      .map(([name, value]) => detail(name, value));
    return h(
      "li",
      { "data-what": what },
      h("time", { title: format.clock(at + this.offset) }, `+${format.seconds(at - beganAt)}`),
      h("b", {}, words),
      h("span", { class: "text" }, details.join(" · ")),
    );
  }

  actions(job) {
    return h("p", { class: "actions" }, ...actionsOf(job, async () => {
      await this.refresh();
      this.onChange();
    }));
  }
}

// The buttons that fit a job's state. `done` is called when one has worked.
export function actionsOf(job, done, onProblem = window.alert.bind(window)) {
  const act = (call) => async (event) => {
    event.target.disabled = true;
    try {
      await call();
      await done();
    } catch (error) {
      onProblem(error.message);
    } finally {
      event.target.disabled = false;
    }
  };
  const path = `v1/p2/${encodeURIComponent(job.job_id)}`;
  if (job.status === "cancelled" || job.status === "discarded") {
    return [h("button", { onclick: act(() => post(`${path}/retry`)), "aria-label": `Retry ${job.job_id}` }, "Retry")];
  }
  if (job.status === "completed") return [];
  if (job.is_cancel_requested) return [h("span", { class: "quiet" }, "is being cancelled")];
  return [h("button", { onclick: act(() => remove(path)), "aria-label": `Cancel ${job.job_id}` }, "Cancel")];
}

function facts(story, job) {
  const pairs = [["State", job?.status ?? story.state]];
  if (story.engine) pairs.push(["Engine", story.engine]);
  if (story.explanation) pairs.push(["Because", story.explanation.message]);
  if (story.position) pairs.push(["Place in its class", format.count(story.position)]);
  if (story.prediction) {
    const { prompt_tokens: prompt, output_tokens: output, tokens_seen: seen } = story.prediction;
    pairs.push(["Predicted", `${format.count(prompt)} prompt + ${format.count(output)} output, ${format.count(seen)} seen`]);
  }
  if (job) {
    pairs.push(["Tries", `${job.attempts} of ${job.max_attempts}`], ["Gave way", format.times(job.preemptions, "time", "times")]);
    if (job.key) pairs.push(["Key", job.key]);
    if (job.batch) pairs.push(["Batch", job.batch]);
    if (job.usage) pairs.push(["Tokens", `${format.count(job.usage.prompt_tokens)} + ${format.count(job.usage.completion_tokens)}`]);
  }
  return h("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

const RUNS = new Set(["dispatched", "first_token"]);
const ENDS = new Set(["finished", "failed", "cancelled", "rejected", "aborted"]);

// What it did, stretch by stretch, as wide as it took.
function bar(entries, state) {
  const parts = [];
  let phase = "waiting";
  entries.forEach((entry, place) => {
    if (entry.what === "dispatched") phase = "reading";
    else if (entry.what === "first_token") phase = "writing";
    else if (entry.what === "gives_way") phase = "leaving";
    else if (!RUNS.has(entry.what)) phase = entry.what === "preempted" ? "preempted" : "waiting";
    const next = entries[place + 1];
    if (next && !ENDS.has(entry.what)) parts.push({ phase, seconds: next.at - entry.at });
  });
  const total = parts.reduce((sum, part) => sum + part.seconds, 0);
  if (!total) return "";
  const seen = [...new Set(parts.map((part) => part.phase))];
  const spent = (name) => parts.filter((part) => part.phase === name).reduce((sum, part) => sum + part.seconds, 0);
  return h(
    "div",
    { class: "story-bar" },
    h(
      "div",
      { class: "track", role: "img", "aria-label": seen.map((name) => `${name} ${format.seconds(spent(name))}`).join(", ") },
      ...parts.map((part) => h("i", { class: part.phase, style: { flexGrow: String(part.seconds / total) } })),
    ),
    h("ul", { class: "legend" }, ...seen.map((name) => h("li", {}, h("i", { class: name }), `${name} ${format.seconds(spent(name))}`))),
  );
}

function detail(name, value) {
  const words = name.replace(/_s$/, "").replaceAll("_", " ");
  if (typeof value !== "number") return `${words} ${value}`;
  return `${words} ${SECONDS.has(name) ? format.seconds(value) : format.count(value)}`;
}

function result(document) {
  const text = JSON.stringify(document, null, 2);
  const shown = text.length > 20_000 ? `${text.slice(0, 20_000)}\n…` : text;
  return h("details", {}, h("summary", {}, "Result"), h("pre", { tabindex: "0" }, shown));
}
