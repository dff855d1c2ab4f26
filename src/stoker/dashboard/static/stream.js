// The one stream: reconnects by itself, after a restart of the service and after the laptop's sleep.

import { ask } from "./api.js";

const SILENT_MS = 8000; // a frame comes each second: silence means that the connection is dead
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

// Calls `on[event](data)` for each event, and `on.state("live" | "lost")` when that changes.
export async function follow(path, on) {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    try {
      await read(path, on, () => {
        wait = FIRST_WAIT_MS;
      });
    } catch {
      // The connection is gone, or was too silent: the next one begins with all that was missed.
    }
    on.state("lost");
    await pause(wait);
    wait = Math.min(LONGEST_WAIT_MS, wait * 2);
  }
}

async function read(path, on, onLive) {
  const stop = new AbortController();
  let heardAt = performance.now();
  let tickedAt = Date.now();
  const watchdog = setInterval(() => {
    // In a sleep the wall clock alone goes on. A hidden page's timers are late without one.
    const hasSlept = Date.now() - tickedAt > SILENT_MS && !document.hidden;
    tickedAt = Date.now();
    if (hasSlept || performance.now() - heardAt > SILENT_MS) stop.abort();
  }, 1000);
  try {
    const response = await ask(path, { signal: stop.signal, cache: "no-store" });
    if (!response.ok) return;
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heardAt = performance.now();
      text += value;
      const frames = text.split("\n\n");
      text = frames.pop();
      for (const frame of frames) dispatch(frame, on);
      if (frames.length) {
        onLive();
        on.state("live");
      }
    }
  } finally {
    clearInterval(watchdog);
    stop.abort();
  }
}

function dispatch(frame, on) {
  const [first, second] = frame.split("\n", 2);
  const handler = on[first.slice("event: ".length)];
  try {
    handler?.(JSON.parse(second.slice("data: ".length)));
  } catch (error) {
    console.error(error); // ours; the stream goes on
  }
}

// Whoever comes back to the page does not wait for the rest of a long pause.
function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms);
    function end() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
      window.removeEventListener("online", end);
      resolve();
    }
    function wake() {
      if (!document.hidden) end();
    }
    document.addEventListener("visibilitychange", wake);
    window.addEventListener("online", end);
  });
}
