// Why: reasons and their counts, what moved the ceilings, and what happens as it happens.

import { $, h, setValue } from "./dom.js";
import * as format from "./format.js";

const { CLASSES } = format;
const LINES_MAX = 200;

export class Why {
  constructor(openStory) {
    this.openStory = openStory;
    this.numbers = { feed: 0, moves: 0 };
    this.engine = "";
    this.items = [];
    this.moveList = [];
    this.bars = new Map();
  }

  // A new life of the service counts from one again.
  begin(items, moves) {
    this.numbers = { feed: 0, moves: 0 };
    this.items = [];
    this.moveList = [];
    this.add(items, moves);
    this.draw();
  }

  choose(engine) {
    if (engine === this.engine) return;
    this.engine = engine;
    this.draw();
  }

  add(items, moves) {
    const newItems = items.filter((item) => item.number > this.numbers.feed);
    const newMoves = moves.filter((move) => move.number > this.numbers.moves);
    for (const item of newItems) this.numbers.feed = Math.max(this.numbers.feed, item.number);
    for (const move of newMoves) this.numbers.moves = Math.max(this.numbers.moves, move.number);
    this.items = [...this.items, ...newItems].slice(-LINES_MAX);
    this.moveList = [...this.moveList, ...newMoves].slice(-LINES_MAX);
    this.prepend($("feed"), newItems, (item) => this.feedLine(item));
    this.prepend($("moves"), newMoves, moveLine);
  }

  draw() {
    $("feed").replaceChildren();
    $("moves").replaceChildren();
    this.prepend($("feed"), this.items, (item) => this.feedLine(item));
    this.prepend($("moves"), this.moveList, moveLine);
    for (const [id, words] of [["feed", "nothing has happened yet"], ["moves", "no ceiling has moved yet"]]) {
      if (!$(id).children.length) $(id).append(h("li", { class: "empty" }, words));
    }
  }

  prepend(list, entries, make) {
    const mine = entries.filter((entry) => entry.engine === this.engine);
    if (!mine.length) return;
    list.querySelector(".empty")?.remove();
    list.prepend(...mine.reverse().map(make));
    while (list.children.length > LINES_MAX) list.lastElementChild.remove();
  }

  feedLine(item) {
    const id = item.id.startsWith("job_") || item.id.startsWith("req_");
    const story = id
      ? h("button", { class: "link", onclick: () => this.openStory(item.id), title: item.id }, short(item.id))
      : null;
    return h(
      "li",
      { "data-kind": item.kind },
      h("time", {}, format.clock(item.at)),
      badge(item.priority),
      h("span", { class: `kind ${item.kind}` }, item.kind),
      h("span", { class: "text" }, item.text, item.reason ? h("code", {}, item.reason) : null),
      story,
    );
  }

  reasons(scheduler) {
    const rows = [];
    for (const name of CLASSES) {
      for (const [reason, count] of Object.entries(scheduler.admissions[name] ?? {})) {
        rows.push({ name, reason, count });
      }
    }
    rows.sort((one, other) => other.count - one.count);
    const most = Math.max(1, ...rows.map((row) => row.count));
    const host = $("reasons");
    if (!rows.length) {
      if (!host.children.length) host.append(h("p", { class: "empty" }, "no request has come yet"));
      return;
    }
    host.querySelector(".empty")?.remove();
    rows.forEach((row, place) => {
      const bar = this.barOf(row);
      if (host.children[place] !== bar.element) host.insertBefore(bar.element, host.children[place] ?? null);
      setValue(bar.count, row.count, format.count(row.count));
      // A square root: a handful of refusals is seen beside ten thousand admissions.
      bar.fill.style.width = `${Math.max(1, 100 * Math.sqrt(row.count / most))}%`;
    });
    while (host.children.length > rows.length) host.lastElementChild.remove();
  }

  barOf({ name, reason }) {
    const key = `${name}.${reason}`;
    let bar = this.bars.get(key);
    if (!bar) {
      const count = h("b", { "data-reason": key });
      const fill = h("i", { class: name });
      const element = h("div", { class: "reason" }, badge(name), h("code", {}, reason), h("span", { class: "track" }, fill), count);
      bar = { element, count, fill };
      this.bars.set(key, bar);
    }
    return bar;
  }
}

function moveLine(move) {
  const from = move.is_first ? "begins at " : `${ceilingText(move.before)} → `;
  const slope = move.slope === null ? "" : `slope ${move.slope.toFixed(2)} ± ${(move.slope_sd ?? 0).toFixed(2)}`;
  return h(
    "li",
    {},
    h("time", {}, format.clock(move.at)),
    badge(move.priority),
    h("span", { class: "text" }, h("b", {}, from + ceilingText(move.after)), h("code", {}, move.reason), slope),
  );
}

function ceilingText(value) {
  return value === null ? "no ceiling" : format.count(value);
}

function badge(priority) {
  return h("span", { class: `badge ${priority}` }, (priority || "–").toUpperCase());
}

export function short(id) {
  return id.length > 14 ? `${id.slice(0, 4)}…${id.slice(-6)}` : id;
}
