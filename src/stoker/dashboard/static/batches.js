// OpenAI batches with their progress. Asked for when their counts or the jobs' have changed.

import { json, post } from "./api.js";
import { $, h } from "./dom.js";
import * as format from "./format.js";
import { short } from "./why.js";

const AGAIN_MS = 4000;
const OVER = new Set(["completed", "failed", "expired", "cancelled", "cancelling"]);

export class Batches {
  constructor(onProblem) {
    this.onProblem = onProblem;
    this.seen = "";
    this.shown = "";
    this.isWanted = true;
    this.total = 0;
    setInterval(() => this.refresh(), AGAIN_MS);
  }

  note(counts, jobs) {
    this.total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const seen = JSON.stringify([counts, this.total ? jobs : null]);
    const isFirst = this.seen === "";
    this.isWanted ||= seen !== this.seen;
    this.seen = seen;
    if (isFirst) this.refresh();
  }

  async refresh() {
    if (!this.isWanted || document.hidden) return;
    this.isWanted = false;
    try {
      this.show(this.total ? (await json("v1/batches?limit=20")).data : []);
    } catch (error) {
      $("batches-list").replaceChildren(h("p", { class: "empty" }, error.message));
    }
  }

  show(batches) {
    const shown = JSON.stringify(batches);
    if (shown === this.shown) return;
    this.shown = shown;
    const host = $("batches-list");
    if (!batches.length) {
      host.replaceChildren(h("p", { class: "empty" }, "no batch; OpenAI’s client makes one with client.batches.create(…)"));
      return;
    }
    host.replaceChildren(...batches.map((batch) => this.card(batch)));
  }

  card(batch) {
    const { total, completed, failed } = batch.request_counts;
    const share = total ? (completed + failed) / total : 0;
    const cancel = OVER.has(batch.status)
      ? null
      : h("button", { onclick: () => this.cancel(batch.id), "aria-label": `Cancel ${batch.id}` }, "Cancel");
    return h(
      "div",
      { class: "card row" },
      h("code", { title: batch.id }, short(batch.id)),
      h("span", { class: `state ${batch.status}` }, batch.status.replaceAll("_", " ")),
      h(
        "span",
        { class: "track", role: "img", "aria-label": `${format.percent(share)} done` },
        h("i", { class: "done", style: { width: `${(100 * completed) / Math.max(1, total)}%` } }),
        h("i", { class: "failed", style: { width: `${(100 * failed) / Math.max(1, total)}%` } }),
      ),
      h("span", {}, `${format.count(completed)} of ${format.count(total)}`, failed ? `, ${format.count(failed)} failed` : ""),
      h("span", { class: "quiet" }, batch.endpoint),
      h("span", { class: "quiet" }, `${format.seconds(Math.max(0, Date.now() / 1000 - batch.created_at))} ago`),
      cancel,
    );
  }

  async cancel(id) {
    try {
      await post(`v1/batches/${encodeURIComponent(id)}/cancel`);
      this.isWanted = true;
      await this.refresh();
    } catch (error) {
      this.onProblem(error.message);
    }
  }
}
