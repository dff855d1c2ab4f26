// Asking Stoker: the key if there is one, errors as sentences.

import { $ } from "./dom.js";

const KEY = "stoker-key";
let waitingForKey = null;

export class Failed extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Like `fetch`, with the key. Asks for one when it is needed, and then tries again.
export async function ask(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers };
    if (key) headers.authorization = `Bearer ${key}`;
    // `omit`: the browser must not open its own question for a password.
    const response = await fetch(path, { ...options, headers, credentials: "omit" });
    const isLocked = response.status === 401 || (response.status === 403 && path.startsWith("v1/fabric/"));
    if (!isLocked) return response;
    const { message } = (await response.json()).error;
    await newKey(key ? message : null);
  }
}

export async function json(path, options = {}) {
  const response = await ask(path, options);
  if (response.status === 204) return null;
  const document = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Failed(response.status, document?.error?.message ?? `HTTP ${response.status}`);
  }
  return document;
}

export const post = (path, body) =>
  json(path, { method: "POST", body: body === undefined ? "" : JSON.stringify(body) });

export const remove = (path) => json(path, { method: "DELETE" });

function newKey(message) {
  waitingForKey ??= new Promise((resolve) => {
    if (message) $("key-text").textContent = message;
    const dialog = $("key");
    const done = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, $("key-input").value.trim());
      $("key-input").value = "";
      $("key-form").removeEventListener("submit", done);
      waitingForKey = null;
      dialog.close();
      resolve();
    };
    $("key-form").addEventListener("submit", done);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    if (!dialog.open) dialog.showModal();
  });
  return waitingForKey;
}
