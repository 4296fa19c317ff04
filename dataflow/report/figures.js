// The embedded figures of one aggregation, and how numbers and windows are written.

const numberFormat = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const dayFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short", year: "numeric" });
const MINUTES = {
  timeZone: "UTC", day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false,
};
const SECONDS = { ...MINUTES, second: "2-digit" };
const minuteFormat = new Intl.DateTimeFormat("en-GB", MINUTES);
const secondFormat = new Intl.DateTimeFormat("en-GB", SECONDS);
const milliFormat = new Intl.DateTimeFormat("en-GB", { ...SECONDS, fractionalSecondDigits: 3 });
const DAY = 86_400_000;
const MINUTE = 60_000;
// Circles are elements of their own in SVG; beyond this a browser begins to stutter.
const SCATTER_POINTS = 4_000;
// How much windows of one kind may differ in length, and in the time from one to the next.
const TOLERANCE = 1.2;
// Areas in square pixels: of a dot that ends a line, and of one that is all there is.
const DOT = 18;
const LONE_DOT = 80;

const readJson = (id) => JSON.parse(document.getElementById(id).textContent);
const least = (values) => values.reduce((low, value) => Math.min(low, value), Infinity);
const writeNumber = (value) => {
  const isTiny = value !== 0 && Math.abs(value) < 1e-4;
  return (isTiny ? value.toExponential(2) : numberFormat.format(value)).replaceAll("-", "−");
};
const writeShort = (value) => writeNumber(Number(value.toPrecision(4)));
const clockFor = (...instants) =>
  instants.every((instant) => instant % MINUTE === 0) ? minuteFormat : instants.every((instant) => instant % 1000 === 0) ? secondFormat : milliFormat;
const writeInstant = (instant, clock = clockFor(instant)) =>
  instant % DAY || clock !== minuteFormat ? `${clock.format(instant)} UTC` : dayFormat.format(instant);

// A whole day by its name, any other window by its ends, both as exact as the more exact one needs.
function writeWindow(start, end) {
  if (end - start === DAY && start % DAY === 0) return writeInstant(start);
  const clock = clockFor(start, end);
  const ends = writeInstant(end, clock);
  return `${writeInstant(start, clock).replace(" UTC", ends.endsWith(" UTC") ? "" : " UTC")} to ${ends}`;
}

class FigureTable {
  constructor({ unit, starts, ends, keys }) {
    this.starts = starts.map((start) => start * unit);
    this.ends = ends.map((end) => end * unit);
    const lengths = this.ends.map((end, window) => end - this.starts[window]);
    // Days differ by an hour and months by three days; sessions have any length, and none of them is missing.
    const shortest = least(lengths);
    const isRegular = lengths.every((length) => length <= TOLERANCE * shortest);
    const steps = this.starts.slice(1).map((start, before) => start - this.starts[before]);
    this.longestStep = isRegular ? TOLERANCE * least(steps.filter((step) => step > 0)) : Infinity;
    this.keys = keys.map(({ key, rows, windows: jumps, columns }) => {
      let window = 0;
      return { label: key, rows, columns, windows: jumps.map((jump) => (window += jump)) };
    });
  }

  writeWindow(window) {
    return writeWindow(this.starts[window], this.ends[window]);
  }

  // Rows of a line chart for the chosen keys (a map from key to slot). The line breaks where a window is empty or absent;
  // a value between two breaks is drawn as a dot, and so is the latest of each key.
  lines(position, chosen) {
    const rows = [];
    const readings = new Map();
    const extents = [];
    const dotArea = this.starts.length === 1 ? LONE_DOT : DOT;
    for (const [key, slot] of chosen) {
      const { label, windows, columns } = this.keys[key];
      const values = columns[position];
      const last = values.findLastIndex((value) => value != null);
      const isNext = (i, j) => this.starts[windows[j]] - this.starts[windows[i]] <= this.longestStep;
      const extent = { label, low: Infinity, high: -Infinity, latest: null };
      values.forEach((value, i) => {
        if (i && !isNext(i - 1, i)) rows.push({ t: this.starts[windows[i]], y: null, s: slot });
        const isAlone = !(values[i - 1] != null && isNext(i - 1, i)) && !(values[i + 1] != null && isNext(i, i + 1));
        const dot = value != null && (isAlone || i === last) ? dotArea : 0;
        rows.push({ t: this.starts[windows[i]], y: value, s: slot, dot });
        if (value == null) return;
        extent.low = Math.min(extent.low, value);
        extent.high = Math.max(extent.high, value);
        extent.latest = value;
        if (!readings.has(windows[i])) readings.set(windows[i], []);
        readings.get(windows[i]).push({ label, slot, value });
      });
      if (extent.latest != null) extents.push(extent);
    }
    return { rows, extents, windows: [...readings.keys()].sort((a, b) => a - b), readings };
  }

  // Rows of a scatter chart: predicted (x) against observed (y), the latest windows of each chosen key.
  pairs([predicted, observed], chosen) {
    const rows = [];
    const limit = Math.max(1, Math.floor(SCATTER_POINTS / Math.max(1, chosen.size)));
    let isCut = false;
    for (const [key, slot] of chosen) {
      const { label, windows, columns } = this.keys[key];
      const known = windows
        .map((window, i) => ({ x: columns[predicted][i], y: columns[observed][i], s: slot, label, window }))
        .filter(({ x, y }) => x != null && y != null);
      isCut ||= known.length > limit;
      rows.push(...known.slice(-limit));
    }
    return { rows, limit: isCut ? limit : null };
  }
}

function describeLines(subject, { extents, windows }, table) {
  if (!extents.length) return { short: "", full: `${subject} over time: no values for the chosen keys.` };
  const low = Math.min(...extents.map((extent) => extent.low));
  const high = Math.max(...extents.map((extent) => extent.high));
  const latest = table.writeWindow(windows.at(-1));
  const short = low === high ? `Always ${writeShort(low)}` : `Between ${writeShort(low)} and ${writeShort(high)}`;
  const each = extents.map((extent) =>
    `${extent.label}: from ${writeShort(extent.low)} to ${writeShort(extent.high)}, latest ${writeShort(extent.latest)}.`);
  return { short, full: `Line chart. ${subject}, over time to ${latest}. ${each.join(" ")}` };
}

function describePairs(subject, { rows, limit }) {
  if (!rows.length) return { short: "", full: `${subject}: no window with a model before it.` };
  const error = Math.sqrt(rows.reduce((sum, { x, y }) => sum + (x - y) ** 2, 0) / rows.length);
  const latest = limit ? `, the latest ${writeNumber(limit)} of each key` : "";
  const count = `${writeNumber(rows.length)} ${rows.length === 1 ? "window" : "windows"}${latest}`;
  const short = `${count}; root mean squared error ${writeShort(error)}`;
  return { short, full: `Scatter chart. ${subject}. ${short}. On the diagonal the prediction was right.` };
}
