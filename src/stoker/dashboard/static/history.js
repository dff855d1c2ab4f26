// The last hour in columns, one set for each engine. Where nothing was sampled there is a gap.

const KEPT_S = 3600;
const GAP = 2.5; // so many intervals without a row are a gap

export class History {
  constructor() {
    this.places = new Map();
    this.everyS = 5;
    this.engines = new Map();
  }

  // What the service remembers. What this page saw before the service was restarted stays.
  begin({ columns, every_s, rows }) {
    this.places = new Map(columns.map((name, place) => [name, place + 1]));
    this.everyS = every_s;
    this.add(rows);
  }

  add(rows) {
    for (const [engine, list] of Object.entries(rows)) {
      const known = this.engines.get(engine) ?? [];
      const last = known.length ? known[known.length - 1][0] : -Infinity;
      const first = list.length ? list[0][0] : Infinity;
      // Rows that come from before what is known: a page that was asleep gets them late.
      const merged = first < last && list.length > 3 ? merge(known, list) : known;
      const end = merged.length ? merged[merged.length - 1][0] : -Infinity;
      for (const row of list) if (row[0] > end) merged.push(row);
      const oldest = merged.length ? merged[merged.length - 1][0] - KEPT_S : 0;
      while (merged.length && merged[0][0] < oldest) merged.shift();
      this.engines.set(engine, merged);
    }
  }

  first(engine) {
    return this.engines.get(engine)?.[0]?.[0] ?? null;
  }

  last(engine) {
    const rows = this.engines.get(engine);
    return rows?.length ? this.reader(rows[rows.length - 1]) : () => null;
  }

  reader(row) {
    return (name) => row[this.places.get(name)] ?? null;
  }

  // [times, series 1, series 2, …] for the chart; each series is a function of a row's reader.
  table(engine, sinceS, series) {
    const rows = this.engines.get(engine) ?? [];
    const table = [[], ...series.map(() => [])];
    let before = null;
    for (const row of rows) {
      if (row[0] < sinceS) continue;
      if (before !== null && row[0] - before > GAP * this.everyS) {
        table[0].push(before + this.everyS);
        for (let index = 0; index < series.length; index += 1) table[index + 1].push(null);
      }
      before = row[0];
      const get = this.reader(row);
      table[0].push(row[0]);
      for (const [index, read] of series.entries()) table[index + 1].push(read(get));
    }
    return table;
  }
}

function merge(known, list) {
  const byTime = new Map();
  for (const row of known) byTime.set(row[0], row);
  for (const row of list) byTime.set(row[0], row);
  return [...byTime.values()].sort((one, other) => one[0] - other[0]);
}
