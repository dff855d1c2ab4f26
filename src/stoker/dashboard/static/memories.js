// The memory server: its pipeline stage by stage, imports with their share and ETA, the quarantine.

import { json, post } from "./api.js";
import { $, h } from "./dom.js";
import * as format from "./format.js";

const AGAIN_MS = 4000;
const STAGES = ["done", "quarantined", "answered", "queued", "ready", "cancelled"]; // as a bar fills
const STAGE_WORDS = {
  ready: "planned",
  queued: "a job now",
  answered: "answered, not yet merged",
  done: "done",
  quarantined: "quarantined",
  cancelled: "cancelled",
};

const TAKEN = new Set(["accepted", "reattributed"]);
const KIND_WORDS = { extract: "an answer about a chunk", judge: "an answer about tiles" };

export class Memories {
  constructor(onProblem) {
    this.onProblem = onProblem;
    this.shown = "";
    this.isThere = false;
    setInterval(() => this.refresh(), AGAIN_MS);
  }

  // The stream says it anew in each life of the service.
  begin(isThere) {
    this.isThere = isThere;
    if (isThere) this.refresh();
    else this.say("there is no memory server here; memories.enabled = true gives one");
  }

  async refresh() {
    if (!this.isThere || document.hidden) return;
    try {
      const [stats, imports, quarantine] = await Promise.all([
        json("v1/memories"),
        json("v1/memories/imports?limit=10"),
        json("v1/memories/quarantine?limit=20"),
      ]);
      this.show(stats, imports.data, quarantine.data);
    } catch (error) {
      this.isThere = error.status !== 404 && error.status !== 403;
      this.say(error.message);
    }
  }

  say(words) {
    this.shown = "";
    $("memories-body").replaceChildren(h("p", { class: "empty" }, words));
  }

  show(stats, imports, quarantine) {
    const shown = JSON.stringify([stats, imports, quarantine]);
    if (shown === this.shown) return;
    this.shown = shown;
    const tiles = Object.entries(stats.tiles).filter(([, count]) => count > 0);
    const tileWords = tiles.map(([status, count]) => `${format.count(count)} ${status}`).join(", ");
    $("memories-body").replaceChildren(
      h(
        "ol",
        { class: "pipeline", "aria-label": "From text to tiles" },
        step("Sources", stats.sources, "read and kept"),
        step("Spans", stats.spans, "found by search at once"),
        step("Model work", stats.work.total, stagesOf(stats.work)),
        step("Tiles", tiles.reduce((sum, [, count]) => sum + count, 0), tileWords || "none yet"),
        step("Quarantine", stats.work.quarantined + (stats.tiles.quarantined ?? 0), refusalsOf(stats)),
      ),
      ...imports.map((one) => this.card(one)),
      quarantined(quarantine),
    );
  }

  card(one) {
    const { work } = one;
    const share = work.total ? 1 - work.left / work.total : 1;
    const failed = one.documents.failed ?? 0;
    const documents = Object.values(one.documents).reduce((sum, count) => sum + count, 0);
    // An import's tiles are those that its model work made; what was said in a sentence is one as it is.
    const parts = [
      format.times(documents, "document", "documents"),
      failed && `${failed} unreadable`,
      work.total && format.times(one.tiles, "tile", "tiles"),
    ];
    const steer = one.state === "running" && !one.is_done ? ["pause", "cancel"] : one.state === "paused" ? ["resume", "cancel"] : [];
    return h(
      "div",
      { class: "card row" },
      h("b", { class: "clip", title: one.label }, one.label || one.id),
      h("span", { class: `state ${one.is_done ? "completed" : one.state}` }, one.is_done ? "done" : one.state),
      work.total ? track(work, share) : null,
      h("span", {}, work.total ? `${format.percent(share)} of ${format.count(work.total)}` : "no model work"),
      h("span", { class: "quiet" }, parts.filter(Boolean).join(", ")),
      h("span", { class: "quiet" }, work.eta_s === null || one.is_done ? "" : `${format.seconds(work.eta_s)} left`),
      ...steer.map((verb) =>
        h("button", { onclick: () => this.steer(one.id, verb), "aria-label": `${verb} ${one.label || one.id}` }, verb),
      ),
    );
  }

  async steer(id, verb) {
    try {
      await post(`v1/memories/imports/${encodeURIComponent(id)}/${verb}`);
      await this.refresh();
    } catch (error) {
      this.onProblem(error.message);
    }
  }
}

function track(work, share) {
  return h(
    "span",
    { class: "track", role: "img", "aria-label": `${format.percent(share)} done` },
    ...STAGES.filter((stage) => work[stage]).map((stage) =>
      h("i", { class: `stage-${stage}`, style: { width: `${(100 * work[stage]) / work.total}%` } }),
    ),
  );
}

function step(name, value, note) {
  return h("li", {}, h("h3", {}, name), h("strong", {}, format.count(value)), h("span", {}, note));
}

function stagesOf(work) {
  const parts = STAGES.filter((stage) => work[stage]).map((stage) => `${format.count(work[stage])} ${STAGE_WORDS[stage]}`);
  return parts.join(", ") || "none yet";
}

// Answers that are kept aside, and the claims since the start: most of those are not worth keeping.
function refusalsOf({ guards, work }) {
  const refused = Object.entries(guards).filter(([guard]) => !TAKEN.has(guard));
  const most = refused.sort((one, other) => other[1] - one[1]).slice(0, 3);
  const parts = most.map(([guard, count]) => `${format.count(count)} ${guard.replaceAll("_", " ")}`);
  const words = parts.length ? [`claims refused: ${parts.join(", ")}`] : [];
  if (work.quarantined) words.unshift(format.times(work.quarantined, "unusable answer", "unusable answers"));
  return words.join("; ") || "nothing was refused";
}

function quarantined(refusals) {
  if (!refusals.length) return "";
  return h(
    "details",
    {},
    h("summary", {}, `What was refused lately (${refusals.length})`),
    h(
      "ol",
      { class: "log" },
      ...refusals.map((one) =>
        h("li", {}, h("time", {}, format.clock(one.at)), h("code", {}, one.reason), h("span", { class: "text" }, KIND_WORDS[one.what] ?? one.what)),
      ),
    ),
  );
}
