// Making and changing elements without ever parsing text as HTML.

export const $ = (id) => document.getElementById(id);

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Only what has changed is touched: a screen reader, a selection and the focus stay where they are.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setValue(element, value, text) {
  const raw = value === null || value === undefined ? "" : String(value);
  if (element.dataset.value !== raw) element.dataset.value = raw;
  setText(element, text);
}

// A group of buttons of which one is pressed; what was chosen outlives the page.
export function choice(group, key, fallback, onChange) {
  const buttons = [...group.querySelectorAll("button")];
  const wanted = localStorage.getItem(key);
  let value = buttons.some((one) => one.dataset.value === wanted) ? wanted : fallback;
  const show = () => {
    for (const one of buttons) one.setAttribute("aria-pressed", one.dataset.value === value);
  };
  for (const one of buttons) {
    one.addEventListener("click", () => {
      value = one.dataset.value;
      localStorage.setItem(key, value);
      show();
      onChange(value);
    });
  }
  show();
  return value;
}
