// The jobs of the store: newest first, found by id, key or batch, cancelled and retried.

import { json } from "./api.js";
import { $, h, setText } from "./dom.js";
import * as format from "./format.js";
import { actionsOf } from "./story.js";
import { short } from "./why.js";

const PAGE = 20;
const SEARCHED = 1000; // newest jobs that a search looks through; an id or a batch finds older ones
const AGAIN_MS = 2000;

export class Jobs {
  constructor(openStory, onProblem) {
    this.openStory = openStory;
    this.onProblem = onProblem;
    this.limit = PAGE;
    this.seen = "";
    this.isWanted = true;
    this.isAsking = false;
    this.rows = new Map();
    $("jobs-state").addEventListener("change", () => this.again());
    $("jobs-find").addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.again(), 250);
    });
    $("jobs-more").addEventListener("click", () => {
      this.limit += PAGE;
      this.again();
    });
    setInterval(() => this.refresh(), AGAIN_MS);
  }

  // The stream says that counts have changed; the list is asked for at most every two seconds.
  note(counts, held) {
    const seen = JSON.stringify([counts, held]);
    this.isWanted ||= seen !== this.seen || counts.running > 0;
    this.seen = seen;
    this.showCounts(counts);
  }

  again() {
    this.isWanted = true;
    this.refresh();
  }

  async refresh() {
    if (!this.isWanted || this.isAsking || document.hidden) return;
    this.isAsking = true;
    this.isWanted = false;
    try {
      const { jobs, hasMore } = await this.ask();
      this.show(jobs);
      $("jobs-more").hidden = !hasMore;
    } catch (error) {
      this.show([]);
      setText($("jobs-empty"), error.message);
    } finally {
      this.isAsking = false;
    }
  }

  async ask() {
    const state = $("jobs-state").value;
    const text = $("jobs-find").value.trim();
    const query = new URLSearchParams(state ? { state } : {});
    query.set("limit", text ? SEARCHED : this.limit);
    if (!text) {
      const { data, has_more: hasMore } = await json(`v1/p2?${query}`);
      return { jobs: data, hasMore };
    }
    const named = new URLSearchParams({ ...(state ? { state } : {}), batch: text, limit: this.limit });
    const [newest, ofBatch, one] = await Promise.all([
      json(`v1/p2?${query}`),
      json(`v1/p2?${named}`),
      text.startsWith("job_") ? json(`v1/p2/${encodeURIComponent(text)}`).catch(() => null) : null,
    ]);
    const found = new Map();
    for (const job of [one, ...ofBatch.data, ...newest.data.filter((each) => matches(each, text))]) {
      if (job && (!state || job.status === state)) found.set(job.job_id, job);
    }
    const jobs = [...found.values()].sort((a, b) => b.created_at - a.created_at);
    return { jobs: jobs.slice(0, this.limit), hasMore: jobs.length > this.limit };
  }

  show(jobs) {
    const body = $("jobs-table").tBodies[0];
    const focused = document.activeElement?.getAttribute("aria-label");
    const rows = jobs.map((job) => this.rowOf(job));
    if (rows.length !== body.children.length || rows.some((row, index) => body.children[index] !== row)) {
      body.replaceChildren(...rows);
      if (focused) body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
    }
    this.rows = new Map(jobs.map((job, index) => [job.job_id, { row: rows[index], seen: JSON.stringify(job) }]));
    const isFiltered = $("jobs-find").value.trim() || $("jobs-state").value;
    $("jobs-empty").hidden = jobs.length > 0;
    setText($("jobs-empty"), isFiltered ? "no such job" : "no job is stored; POST /v1/p2 stores one");
    this.showAges(jobs);
  }

  // A job that has not changed keeps its row, and with it the focus and a selection.
  rowOf(job) {
    const known = this.rows.get(job.job_id);
    if (known && known.seen === JSON.stringify(job)) return known.row;
    const open = h(
      "button",
      { class: "link", onclick: () => this.openStory(job.job_id), "aria-label": `Story of ${job.job_id}`, title: job.job_id },
      short(job.job_id),
    );
    const tokens = job.usage ? `${format.count(job.usage.prompt_tokens)} + ${format.count(job.usage.completion_tokens)}` : "–";
    const actions = actionsOf(job, () => this.again(), this.onProblem);
    return h(
      "tr",
      { "data-job": job.job_id },
      h("td", { class: "left" }, open),
      h("td", { class: "left" }, h("span", { class: `state ${job.status}` }, job.status)),
      h("td", { class: "left quiet" }, job.error ? job.error.code : (job.reason ?? "").replaceAll("_", " ")),
      h("td", { class: "left clip wide", title: job.key ?? job.batch ?? "" }, job.key ?? job.batch ?? "–"),
      h("td", { class: "wide" }, String(job.attempts)),
      h("td", { class: "wide" }, String(job.preemptions)),
      h("td", { class: "wide" }, tokens),
      h("td", { class: "age" }),
      h("td", { class: "wide" }, job.finished_at && job.started_at ? format.seconds(job.finished_at - job.started_at) : "–"),
      h("td", { class: "left" }, ...actions),
    );
  }

  showAges(jobs) {
    const now = Date.now() / 1000;
    for (const job of jobs) {
      setText(this.rows.get(job.job_id).row.querySelector(".age"), format.seconds(Math.max(0, now - job.created_at)));
    }
  }

  showCounts(counts) {
    const select = $("jobs-state");
    if (select.options.length === 1) {
      for (const state of Object.keys(counts)) select.append(h("option", { value: state }, state));
    }
    const parts = Object.entries(counts).filter(([, count]) => count > 0);
    const words = parts.map(([state, count]) => `${format.count(count)} ${state}`).join(" · ");
    setText($("jobs-counts"), words || "no jobs");
  }
}

function matches(job, text) {
  return [job.job_id, job.key, job.batch].some((name) => name?.toLowerCase().includes(text.toLowerCase()));
}
