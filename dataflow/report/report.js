// Draws the charts: when they come into view, when keys are chosen, and when the colour scheme changes.

const specs = readJson("specs");
const tip = document.getElementById("tip");
const darkScheme = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const palette = Array.from({ length: COLOURS }, (_, index) => colour(`series-${index + 1}`));
  const font = style.fontFamily;
  return {
    background: "transparent",
    font,
    view: { stroke: null },
    axis: {
      domain: false, ticks: false, labelPadding: 6, labelFontSize: 11, titleFontSize: 11, titleFontWeight: "normal",
      labelColor: colour("muted"), titleColor: colour("muted"), gridColor: colour("line"), labelLimit: 220,
    },
    axisX: { domain: true, domainColor: colour("line") },
    range: { category: Array.from({ length: SLOTS }, (_, slot) => palette[slot % COLOURS]) },
    bar: { fill: colour("accent") },
    rule: { stroke: colour("muted") },
    text: { fill: colour("text"), fontSize: 12 },
  };
}

class ChartFigure {
  constructor(element, table, picker) {
    Object.assign(this, { element, table, picker, view: null, isStale: true, isVisible: false });
    this.kind = element.dataset.kind;
    this.subject = element.dataset.subject;
    this.positions = (element.dataset.positions ?? "").split(" ").map(Number);
    this.box = element.querySelector(".chart-box");
    this.short = element.querySelector(".summary");
    if (this.kind.startsWith("line")) this.followCursor();
  }

  content() {
    const chosen = this.picker?.chosen;
    if (this.kind === "bars") return { data: { rows: readJson("reasons") }, short: "", full: this.box.getAttribute("aria-label") };
    if (this.kind === "scatter") {
      const pairs = this.table.pairs(this.positions, chosen);
      const values = pairs.rows.flatMap(({ x, y }) => [x, y]);
      const limits = values.length ? [{ low: Math.min(...values), high: Math.max(...values) }] : [];
      return { data: { rows: pairs.rows, limits }, ...describePairs(this.subject, pairs) };
    }
    this.lines = this.table.lines(this.positions[0], chosen);
    const { rows } = this.lines;
    return { data: { rows: this.lines.extents.length ? rows : [] }, ...describeLines(this.subject, this.lines, this.table) };
  }

  async draw() {
    this.isStale = false;
    const { data, short, full } = this.content();
    this.short.textContent = short;
    this.box.setAttribute("aria-label", full);
    if (!data.rows.length) {
      this.clear(this.emptiness());
    } else if (this.view) {
      for (const [name, rows] of Object.entries(data)) this.view.data(name, rows);
      await this.view.runAsync();
    } else {
      await this.embed(data);
    }
    this.element.dataset.drawn = "";
  }

  emptiness() {
    if (!this.picker.chosen.size) return "Choose a key to see its figures.";
    return this.kind === "scatter" ? "No window has a model of an earlier one yet." : "No values yet.";
  }

  async embed(data) {
    const options = {
      mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, ast: true, config: theme(),
      tooltip: (_handler, event, item, value) => (value == null ? hideTip() : this.showPair(event, item.datum)),
    };
    // Vega takes over role and label of the element it draws into, so that is one of its own.
    const drawing = document.createElement("div");
    this.box.replaceChildren(drawing);
    const { view } = await window.vegaEmbed(drawing, fill(specs[this.kind], data), options);
    this.view = view;
  }

  clear(message = "") {
    this.view?.finalize();
    this.view = null;
    this.box.textContent = message;
  }

  followCursor() {
    this.box.tabIndex = 0;
    const seek = ({ clientX }) => {
      if (!this.view || !this.lines.windows.length) return;
      const left = this.box.getBoundingClientRect().left + this.view.origin()[0];
      this.read(this.nearest(Number(this.view.scale("x").invert(clientX - left))));
    };
    this.box.addEventListener("pointermove", seek);
    this.box.addEventListener("pointerdown", seek);
    this.box.addEventListener("pointerleave", hideTip);
    this.box.addEventListener("blur", hideTip);
    this.box.addEventListener("keydown", (event) => {
      const last = (this.lines?.windows.length ?? 0) - 1;
      const here = this.reading ?? last;
      const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") hideTip();
      if (next === undefined || last < 0 || !this.view) return;
      event.preventDefault();
      this.read(this.reading === undefined ? last : Math.max(0, Math.min(last, next)));
    });
  }

  nearest(instant) {
    const { windows } = this.lines;
    const starts = this.table.starts;
    let low = 0;
    let high = windows.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[windows[middle]] < instant) low = middle + 1;
      else high = middle;
    }
    const before = Math.max(0, low - 1);
    return instant - starts[windows[before]] < starts[windows[low]] - instant ? before : low;
  }

  // Shows every chosen key's value in one window, and a rule where it begins.
  read(reading) {
    this.reading = reading;
    const window = this.lines.windows[reading];
    const [left, top] = this.view.origin();
    const x = left + this.view.scale("x")(this.table.starts[window]);
    const frame = this.box.getBoundingClientRect();
    const entries = [...this.lines.readings.get(window)].sort((a, b) => b.value - a.value);
    showTip(this.table.writeWindow(window), entries, frame.left + x, frame.top + top);
    let cursor = this.box.querySelector(".cursor");
    if (!cursor) {
      cursor = document.createElement("div");
      cursor.className = "cursor";
      this.box.append(cursor);
    }
    Object.assign(cursor.style, { left: `${x}px`, top: `${top}px`, height: `${this.view.height()}px` });
  }

  showPair(event, row) {
    const entries = [
      { label: "observed", slot: row.s, value: row.y },
      { label: "predicted", slot: row.s, value: row.x },
    ];
    showTip(`${row.label}, ${this.table.writeWindow(row.window)}`, entries, event.clientX, event.clientY);
  }
}

// Puts rows into the named data sets of a copy of a specification.
function fill(spec, data) {
  return JSON.parse(JSON.stringify(spec), (key, value) =>
    key === "data" && value?.name in data ? { ...value, values: data[value.name] } : value);
}

function showTip(title, entries, x, y) {
  const heading = document.createElement("strong");
  heading.textContent = title;
  const lines = entries.map(({ label, slot, value }) => {
    const line = document.createElement("span");
    const name = document.createElement("bdi");
    name.textContent = label;
    const figure = document.createElement("b");
    figure.textContent = writeNumber(value);
    line.append(drawSample(slot), name, figure);
    return line;
  });
  tip.replaceChildren(heading, ...lines);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const room = document.documentElement.clientWidth - width - 8;
  tip.style.left = `${Math.max(8, x + 14 > room ? Math.min(x - width - 14, room) : x + 14)}px`;
  tip.style.top = `${Math.max(8, Math.min(y, innerHeight - height - 8))}px`;
}

function hideTip() {
  tip.hidden = true;
  for (const cursor of document.querySelectorAll(".cursor")) cursor.remove();
  for (const figure of figures) figure.reading = undefined;
}

const figures = [];
let queue = Promise.resolve();

// One after the other, so that the page stays responsive, and only what can be seen.
function drawStale() {
  for (const figure of figures) {
    queue = queue.then(() => (figure.isStale && figure.isVisible ? figure.draw() : null)).catch((error) => {
      figure.clear("This chart could not be drawn.");
      console.error(error);
    });
  }
  return queue;
}

function markStale(those) {
  for (const figure of those) {
    figure.isStale = true;
    delete figure.element.dataset.drawn;
  }
  hideTip();
  drawStale();
}

for (const section of document.querySelectorAll("[data-aggregation]")) {
  const table = new FigureTable(readJson(section.dataset.aggregation));
  const own = [];
  const latest = section.querySelectorAll("[data-rank]");
  const showLatest = () => {
    for (const row of latest) row.hidden = !picker.chosen.has(Number(row.dataset.rank));
  };
  const picker = new KeyPicker(section.querySelector(".picker"), table, Number(section.dataset.firstKeys), () => {
    showLatest();
    markStale(own);
  });
  showLatest();
  for (const element of section.querySelectorAll("figure")) own.push(new ChartFigure(element, table, picker));
  figures.push(...own);
}
for (const element of document.querySelectorAll("figure[data-kind=bars]")) figures.push(new ChartFigure(element));

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    figures.find(({ element }) => element === target).isVisible = isIntersecting;
  }
  drawStale();
}, { rootMargin: "400px" });
for (const { element } of figures) observer.observe(element);

darkScheme.addEventListener("change", () => {
  for (const figure of figures) figure.clear();
  markStale(figures);
});
addEventListener("beforeprint", () => {
  for (const figure of figures) figure.isVisible = true;
  drawStale();
});
// What is read stays beside its chart.
addEventListener("scroll", () => {
  const read = figures.find(({ reading }) => reading !== undefined);
  if (read) read.read(read.reading);
  else hideTip();
}, { passive: true });
