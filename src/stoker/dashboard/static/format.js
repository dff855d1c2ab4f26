// Numbers as people read them, always with their unit.

const NOTHING = "–";

export function count(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  if (size >= 999_500) return `${(value / 1e6).toFixed(size >= 1e7 ? 1 : 2)} M`;
  if (size >= 10_000) return `${(value / 1000).toFixed(1)} k`;
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  if (size >= 10 || Number.isInteger(value)) return String(Math.round(value));
  return size === 0 ? "0" : value.toFixed(1);
}

export function times(number, one, more) {
  return `${count(number)} ${number === 1 ? one : more}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value < 0.0005) return "0 ms";
  if (value < 0.01) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(0)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.floor(value % 60)} s`;
  if (value < 86_400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86_400)} d ${Math.floor((value % 86_400) / 3600)} h`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const gib = value / 2 ** 30;
  return gib >= 100 ? `${gib.toFixed(0)} GiB` : `${gib.toFixed(1)} GiB`;
}

export function percent(share) {
  if (share === null || share === undefined) return NOTHING;
  const value = share * 100;
  return `${value < 10 && value > 0 ? value.toFixed(1) : value.toFixed(0)} %`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString("en-GB");
}

export function countdown(left) {
  const whole = Math.max(0, Math.ceil(left));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export const CLASSES = ["p0", "p1", "p2"];
export const CLASS_NAMES = { p0: "P0 interactive", p1: "P1 normal", p2: "P2 background" };
