// The page: one stream in, every part told what is new for it.

import { Batches } from "./batches.js";
import { Charts } from "./charts.js";
import { $, choice, h, setText } from "./dom.js";
import { Engines } from "./engine.js";
import { History } from "./history.js";
import { Jobs } from "./jobs.js";
import { Memories } from "./memories.js";
import { Now } from "./now.js";
import { Story } from "./story.js";
import { follow } from "./stream.js";
import { Why } from "./why.js";

const THEMES = ["auto", "light", "dark"];
const THEME_WORDS = { auto: "as the system has them", light: "light", dark: "dark" };

const pick = { spanS: 3600, tokens: "total", percentile: "p95", floors: null };
export const history = new History();
let engine = localStorage.getItem("stoker-engine");
let lastState = null;
let lastAt = 0; // the service's clock: the laptop's may be wrong

function problem(message) {
  setText($("notice"), message);
  $("notice").hidden = false;
  clearTimeout(problem.timer);
  problem.timer = setTimeout(() => {
    $("notice").hidden = true;
  }, 8000);
}

const story = new Story(() => jobs.again());
const openStory = (id) => story.open(id);
const now = new Now(problem);
const why = new Why(openStory);
const jobs = new Jobs(openStory, problem);
const batches = new Batches(problem);
const memories = new Memories(problem);
const engines = new Engines();
const charts = new Charts($("charts"), pick);

function drawCharts() {
  if (engine) charts.draw(history, engine, lastAt);
}

pick.spanS = Number(choice($("span-choice"), "stoker-span", "900", (value) => {
  pick.spanS = Number(value);
  drawCharts();
}));
for (const [group, name, fallback] of [["tokens-choice", "tokens", "total"], ["percentile-choice", "percentile", "p95"]]) {
  pick[name] = choice($(group), `stoker-${name}`, fallback, (value) => {
    pick[name] = value;
    charts.rebuild();
    drawCharts();
  });
}

function applyTheme() {
  const theme = localStorage.getItem("stoker-theme") ?? "auto";
  document.documentElement.dataset.theme = theme;
  setText($("theme"), theme[0].toUpperCase() + theme.slice(1));
  $("theme").setAttribute("aria-label", `Colours: ${THEME_WORDS[theme]}`);
  charts.rebuild();
  drawCharts();
}
$("theme").addEventListener("click", () => {
  const theme = localStorage.getItem("stoker-theme") ?? "auto";
  localStorage.setItem("stoker-theme", THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  applyTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);
applyTheme();

$("engine").addEventListener("change", (event) => {
  engine = event.target.value;
  localStorage.setItem("stoker-engine", engine);
  if (lastState) show(lastState);
  drawCharts();
});

const openNamed = () => {
  const id = $("story-id").value.trim();
  if (id) openStory(id);
};
$("story-open").addEventListener("click", openNamed);
$("story-id").addEventListener("keydown", (event) => {
  if (event.key === "Enter") openNamed();
});

function chooseEngine(state) {
  const names = Object.keys(state.engines);
  if (!names.includes(engine)) engine = state.default_engine;
  const select = $("engine");
  if (names.join() !== [...select.options].map((option) => option.value).join()) {
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  }
  if (select.value !== engine) select.value = engine;
  select.parentElement.hidden = names.length < 2;
  why.choose(engine);
}

function show(state) {
  chooseEngine(state);
  const one = state.engines[engine];
  pick.floors = one.scheduler.guard.floors;
  now.show(state, one, history.last(engine));
  why.reasons(one.scheduler);
  jobs.note(state.jobs, state.jobs_held);
  batches.note(state.batches, state.jobs);
  engines.show(state);
  const total = now.tiles.Throughput.value.textContent;
  document.title = one.engine.is_ready ? `${total} · Stoker` : "not ready · Stoker";
}

const on = {
  history(data) {
    lastAt = data.at;
    history.begin(data);
    why.begin(data.feed, data.moves);
    memories.begin(data.has_memories);
    drawCharts();
  },
  snapshot(data) {
    const isNew = lastState === null;
    lastAt = data.at;
    lastState = data.state;
    const [first] = Object.values(data.state.engines);
    story.offset = data.at - first.scheduler.at;
    history.add(data.rows);
    show(data.state);
    why.add(data.feed, data.moves);
    if (isNew) why.draw();
    drawCharts();
    document.body.dataset.at = String(data.at);
  },
  state(state) {
    const live = $("live");
    if (live.dataset.state === state) return;
    live.dataset.state = state;
    setText(live, state === "live" ? "live" : "connection lost, trying again");
    document.body.classList.toggle("lost", state !== "live");
  },
};

follow("v1/fabric/live", on);
