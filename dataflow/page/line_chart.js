// A line chart in SVG: one line per key over the ends of its windows; the pointer or the arrow keys show its values.

const CHART_HEIGHT = 280;
const MARGIN = { top: 12, right: 14, bottom: 24, left: 58 };
const SECOND = 1000;
const TIME_STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800]
  .map((seconds) => seconds * SECOND);
const clockFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minuteClockFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit" });
const dateFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });

function svg(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// About `count` round values from low to high, both inside.
function roundValues(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((value) => value >= rough) ?? rough;
  const values = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at += 1) values.push(at * step);
  return values;
}

function timeTicks(low, high, count) {
  const rough = (high - low) / count;
  const step = TIME_STEPS.find((value) => value >= rough) ?? Math.ceil(rough / TIME_STEPS.at(-1)) * TIME_STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) ticks.push(at);
  const clock = step < 60 * SECOND ? clockFormat : minuteClockFormat;
  return { ticks, write: (at) => (at % DAY ? clock : dateFormat).format(at) };
}

class LineChart {
  // `figure` holds a caption and a box. Lines are [{label, slot, points: [{start, end, value, isFinal}]}], points by time.
  constructor(figure) {
    this.box = figure.querySelector(".chart-box");
    this.caption = figure.querySelector("figcaption");
    this.tip = document.getElementById("tip");
    this.lines = [];
    this.box.addEventListener("pointermove", (event) => this.seek(event.clientX));
    this.box.addEventListener("pointerdown", (event) => this.seek(event.clientX));
    for (const leaving of ["pointerleave", "blur"]) this.box.addEventListener(leaving, () => this.hideTip());
    this.box.addEventListener("keydown", (event) => this.step(event));
  }

  draw(title, column, lines, emptiness) {
    this.title = title;
    this.lines = lines.filter(({ points }) => points.some(({ value }) => value != null));
    const known = this.lines.flatMap(({ points }) => points.filter(({ value }) => value != null));
    this.ends = [...new Set(known.map(({ end }) => end))].sort((a, b) => a - b);
    this.caption.querySelector(".title").textContent = title;
    this.caption.querySelector("code").textContent = column;
    const { short, full } = this.describe(known, emptiness);
    this.caption.querySelector(".summary").textContent = short;
    this.box.setAttribute("aria-label", full);
    if (known.length) this.box.replaceChildren(this.drawing(known));
    else this.box.textContent = emptiness;
    this.box.dataset.points = known.length;
  }

  describe(known, emptiness) {
    if (!known.length) return { short: "", full: `${this.title}: ${emptiness}` };
    const write = (points) => {
      const values = points.filter(({ value }) => value != null).map(({ value }) => value);
      return `from ${writeShort(least(values))} to ${writeShort(-least(values.map((value) => -value)))}, latest ${writeShort(values.at(-1))}`;
    };
    const each = this.lines.map(({ label, points }) => `${label}: ${write(points)}.`).join(" ");
    const short = `${this.ends.length.toLocaleString("en")} windows, to ${writeInstant(this.ends.at(-1))}`;
    return { short, full: `Line chart. ${this.title}, over time to ${writeInstant(this.ends.at(-1))}. ${each}` };
  }

  drawing(known) {
    const width = Math.max(this.box.clientWidth, 240);
    const values = known.map(({ value }) => value);
    let [low, high] = [least(values), -least(values.map((value) => -value))];
    const spare = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
    [low, high] = [low >= 0 ? Math.max(low - spare, 0) : low - spare, high + spare];
    const [first, last] = [this.ends[0], Math.max(this.ends.at(-1), this.ends[0] + 1)];
    const right = width - MARGIN.right;
    const bottom = CHART_HEIGHT - MARGIN.bottom;
    this.x = (time) => MARGIN.left + ((time - first) / (last - first)) * (right - MARGIN.left);
    this.y = (value) => bottom - ((value - low) / (high - low)) * (bottom - MARGIN.top);
    const root = svg("svg", { width, height: CHART_HEIGHT, viewBox: `0 0 ${width} ${CHART_HEIGHT}`, "aria-hidden": "true" });
    for (const value of roundValues(low, high, 4)) {
      const at = this.y(value);
      root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }));
      root.append(svg("text", { x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, writeShort(value)));
    }
    const { ticks, write } = timeTicks(first, last, Math.max(2, Math.floor(width / 130)));
    for (const time of ticks) {
      const anchor = this.x(time) > right - 20 ? "end" : "middle";
      root.append(svg("text", { x: this.x(time), y: CHART_HEIGHT - 6, "text-anchor": anchor }, write(time)));
    }
    const steps = this.ends.slice(1).map((end, before) => end - this.ends[before]);
    const longestStep = TOLERANCE * least(steps);
    for (const line of this.lines) root.append(...this.line(line, longestStep));
    return root;
  }

  // The line breaks where a window is missing or empty. Its last point is a dot, or a ring while its window is provisional.
  *line({ slot, points }, longestStep) {
    const colour = `var(--series-${(slot % COLOURS) + 1})`;
    let path = "";
    let before = null;
    for (const point of points) {
      if (point.value == null) {
        before = null;
        continue;
      }
      const joins = before && point.end - before.end <= longestStep;
      path += `${joins ? "L" : "M"}${this.x(point.end).toFixed(1)} ${this.y(point.value).toFixed(1)}`;
      if (!joins) path += "h0";
      before = point;
    }
    const drawn = svg("path", { class: "line", d: path });
    drawn.style.stroke = colour;
    drawn.style.strokeDasharray = SOLID_AND_DASHED[Math.floor(slot / COLOURS)];
    yield drawn;
    const last = points.findLast(({ value }) => value != null);
    const dot = svg("circle", { cx: this.x(last.end), cy: this.y(last.value), r: 3.5, class: last.isFinal ? "" : "still-open" });
    dot.style[last.isFinal ? "fill" : "stroke"] = colour;
    yield dot;
  }

  seek(clientX) {
    if (!this.box.firstElementChild) return;
    const at = clientX - this.box.getBoundingClientRect().left;
    const distance = (end) => Math.abs(this.x(end) - at);
    this.read(this.ends.reduce((best, end) => (distance(end) < distance(best) ? end : best)));
  }

  step(event) {
    const here = this.ends?.indexOf(this.reading) ?? -1;
    const latest = (this.ends?.length ?? 0) - 1;
    const next = { ArrowLeft: here < 0 ? latest : here - 1, ArrowRight: here < 0 ? latest : here + 1, Home: 0, End: latest }[event.key];
    if (event.key === "Escape") this.hideTip();
    if (next === undefined || latest < 0) return;
    event.preventDefault();
    this.read(this.ends[Math.max(0, Math.min(latest, next))]);
  }

  // Shows every line's value in the windows that end then.
  read(end) {
    this.reading = end;
    const entries = this.lines.flatMap(({ label, slot, points }) => {
      const point = points.find((each) => each.end === end && each.value != null);
      return point ? [{ label, slot, ...point }] : [];
    });
    const title = document.createElement("strong");
    title.textContent = writeWindow(entries[0].start, end);
    const rows = entries.sort((a, b) => b.value - a.value).map(({ label, slot, value, isFinal }) => {
      const row = document.createElement("span");
      const name = document.createElement("bdi");
      const figure = document.createElement("b");
      name.textContent = isFinal ? label : `${label}, may still change`;
      figure.textContent = writeNumber(value);
      row.append(drawSample(slot), name, figure);
      return row;
    });
    this.tip.replaceChildren(title, ...rows);
    this.tip.hidden = false;
    const frame = this.box.getBoundingClientRect();
    const x = frame.left + this.x(end);
    const left = x + 14 + this.tip.offsetWidth > innerWidth ? x - 14 - this.tip.offsetWidth : x + 14;
    this.tip.style.left = `${Math.max(8, left)}px`;
    this.tip.style.top = `${Math.max(8, Math.min(frame.top + 20, innerHeight - this.tip.offsetHeight - 8))}px`;
  }

  hideTip() {
    this.reading = undefined;
    this.tip.hidden = true;
  }
}
