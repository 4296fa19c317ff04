// The live page: receives events, keeps the rows of each table, and shows the chosen table, statistic and keys.

const FIRST_KEYS = 3;
// Rows that are kept of a table; windows of one key among them; newest rows, from which the listed ones are taken; and
// rows that are listed.
const REMEMBERED = 100_000;
const WINDOWS = 1_000;
const NEWEST = 5_000;
const LISTED = 12;
const RATE_SECONDS = 6;
const TERMS = ["accepted", "dead", "filtered", "duplicate", "late"];

const facts = readJson("facts");
const byId = (id) => document.getElementById(id);
const write = (id, text) => {
  if (byId(id).textContent !== text) byId(id).textContent = text;
};
const count = (number) => number.toLocaleString("en");
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
const writeAge = (seconds) => {
  if (seconds < 0.9995) return `${Math.max(Math.round(seconds * 1000), 0)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
};

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The rows of one table. A KeyPicker chooses from `keys`, where a key keeps its place.
class LiveTable {
  constructor({ name, key, columns, numbers }) {
    Object.assign(this, { name, key, columns, numbers, keys: [] });
    this.statistic = numbers.find((column) => column.endsWith("_mean")) ?? numbers.find((column) => column !== "rows") ?? numbers[0];
    this.byLabel = new Map();
    this.newest = [];
    this.picker = null;
  }

  add({ key: label, start, end, final, values }) {
    let known = this.byLabel.get(label);
    if (!known) {
      known = { label, rows: 0, windows: new Map() };
      this.byLabel.set(label, known);
      this.keys.push(known);
    }
    const row = { label, start: start * 1000, end: end * 1000, isFinal: final, values };
    if (!known.windows.has(row.start)) known.rows += values[this.columns.indexOf("rows")] ?? 1;
    known.windows.set(row.start, row);
    const most = Math.min(WINDOWS, Math.max(LISTED, Math.floor(REMEMBERED / this.keys.length)));
    while (known.windows.size > most) known.windows.delete(known.windows.keys().next().value);
    this.newest.push(row);
    if (this.newest.length > 2 * NEWEST) this.newest.splice(0, NEWEST);
  }

  // Keys with the most rows come first, until the order has been displayed.
  order() {
    if (!this.picker) this.keys.sort((a, b) => b.rows - a.rows);
  }

  lines() {
    const position = this.columns.indexOf(this.statistic);
    return [...this.picker.chosen].map(([key, slot]) => {
      const { label, windows } = this.keys[key];
      const rows = [...windows.values()].sort((a, b) => a.end - b.end);
      return { label, slot, points: rows.map(({ start, end, isFinal, values }) => ({ start, end, isFinal, value: values[position] })) };
    });
  }

  listed() {
    const labels = new Set([...this.picker.chosen.keys()].map((key) => this.keys[key].label));
    const seen = new Set();
    const rows = [];
    for (const row of this.newest.toReversed()) {
      const place = `${row.start} ${row.label}`;
      if (!labels.has(row.label) || seen.has(place)) continue;
      seen.add(place);
      rows.push(row);
      if (rows.length === LISTED) break;
    }
    return rows;
  }
}

const tables = new Map(facts.tables.map((table) => [table.name, new LiveTable(table)]));
const chart = new LineChart(byId("chart"));
let shown = tables.values().next().value;
let isAsked = false;

// Draws once for all changes within one frame.
function ask() {
  if (isAsked) return;
  isAsked = true;
  requestAnimationFrame(() => {
    isAsked = false;
    show();
  });
}

function choose(table) {
  shown = table;
  const options = table.numbers.map((column) => element("option", column, column === table.statistic ? { selected: "" } : {}));
  byId("statistic").replaceChildren(...options);
  replacePicker();
  ask();
}

// Each table has a separate picker over the same elements; copying these removes the listeners of the last picker.
function replacePicker() {
  const place = byId("keys");
  const copy = place.cloneNode(true);
  place.replaceWith(copy);
  copy.hidden = true;
  const { keys, key } = shown;
  if (!keys.length) return;
  shown.order();
  copy.querySelector("input").value = "";
  copy.querySelector("input").placeholder = key.join(", ");
  const picker = new KeyPicker(copy, shown, FIRST_KEYS, ask);
  if (shown.picker) picker.choose([...shown.picker.chosen.keys()]);
  shown.picker = picker;
  shown.pickedFrom = keys.length;
  copy.hidden = !key.length;
}

function show() {
  if (!shown.picker && shown.keys.length) replacePicker();
  else if (shown.picker && shown.pickedFrom !== shown.keys.length) {
    shown.pickedFrom = shown.keys.length;
    shown.picker.search.closest("label").hidden = shown.keys.length <= CHIPS;
    shown.picker.show();
  }
  const title = `${shown.statistic} of ${shown.name}`;
  if (!shown.picker) {
    chart.draw(title, "", [], "Waiting for the first window to close.");
    byId("newest").querySelector("tbody").replaceChildren();
    write("newest-note", "No window of this table has closed yet.");
    return;
  }
  chart.draw(title, "", shown.lines(), shown.picker.chosen.size ? "No values yet." : "Choose a key to see its figures.");
  list();
}

function list() {
  const head = [...shown.key, "window", ...shown.columns].map((column) =>
    element("th", column, { scope: "col", class: shown.numbers.includes(column) ? "number" : "" }));
  if (shown.key.length) head.splice(0, shown.key.length, element("th", shown.key.join(" · "), { scope: "col" }));
  byId("newest").querySelector("thead tr").replaceChildren(...head);
  const rows = shown.listed().map(({ label, start, end, isFinal, values }) => {
    const row = document.createElement("tr");
    if (shown.key.length) row.append(element("th", label, { scope: "row" }));
    row.append(element("td", `${writeWindow(start, end)}${isFinal ? "" : ", may still change"}`, { class: "window" }));
    values.forEach((value) => {
      if (value == null) row.append(element("td", "null", { class: "null" }));
      else if (typeof value === "number") row.append(element("td", writeNumber(value), { class: "number" }));
      else row.append(element("td", value));
    });
    return row;
  });
  byId("newest").querySelector("tbody").replaceChildren(...rows);
  write("newest-note", shown.key.length ? "Of the chosen keys, the newest first." : "The newest first.");
}

const readings = [];

function showState(state) {
  readings.push(state);
  while (readings.length > 2 && state.now - readings[0].now > RATE_SECONDS) readings.shift();
  const seconds = state.now - readings[0].now;
  const rate = seconds > 0.4 ? Math.max(state.read - readings[0].read, 0) / seconds : 0;
  write("read", count(state.position));
  write("read-note", `${count(Math.round(rate))} a second`);
  write("lag", writeAge(state.lag_s));
  write("lag-note", state.backlog ? `${plural(state.backlog, "record")} wait` : "nothing waits");
  write("watermark", state.watermark == null ? "–" : dayFormat.format(state.watermark * 1000));
  write("watermark-note", state.watermark == null ? "no record yet" : `${clockFormat.format(state.watermark * 1000)} UTC; windows to here are closed`);
  write("stored", count(state.stored));
  write("stored-note", "since this start");
  write("checkpoint", state.checkpoint == null ? "–" : `${writeAge(Math.max(state.now - state.checkpoint, 1))} ago`);
  write("checkpoint-note", state.checkpoint == null ? "none yet" : "a restart resumes from there");
  byId("trouble").hidden = !state.trouble;
  write("trouble", state.trouble ? `Waiting for a sink: ${state.trouble}` : "");
  stand(state.trouble ? "trouble" : "live", state.trouble ? "A sink cannot be written; nothing is lost meanwhile." : "Live.");
  showLedger(state.ledger);
  showReasons(state.reasons);
}

function showLedger(ledger) {
  const read = ledger.read ?? 0;
  const sum = TERMS.reduce((total, term) => total + (ledger[term] ?? 0), 0);
  const text = JSON.stringify(ledger);
  if (byId("identity").dataset.ledger === text) return;
  byId("identity").dataset.ledger = text;
  const term = (name, number, sign) => {
    const part = element("span", "", { class: `term ${name}` });
    part.append(...(sign ? [`${sign} `, element("i", "")] : []), element("b", count(number)), ` ${name}`);
    return part;
  };
  const parts = TERMS.map((name, place) => term(name, ledger[name] ?? 0, place ? "+" : read === sum ? "=" : "≠"));
  byId("identity").replaceChildren(term("read", read, ""), ...parts.flatMap((part) => [" ", part]));
  const shares = TERMS.filter((name) => ledger[name]);
  byId("shares").replaceChildren(...shares.map((name) => {
    const share = element("span", "", { class: name });
    share.style.flexGrow = ledger[name];
    return share;
  }));
  const said = shares.map((name) => `${((100 * ledger[name]) / read).toPrecision(4)} % ${name}`).join(", ");
  byId("shares").setAttribute("aria-label", read ? `Of the records read: ${said}.` : "No records yet");
}

function showReasons(reasons) {
  const most = Object.entries(reasons).sort(([, a], [, b]) => b - a);
  const total = most.reduce((sum, [, letters]) => sum + letters, 0);
  write("letters-lead", total ? `${plural(total, "letter")}: records that could not be used, kept with their original bytes.` : "None at all.");
  byId("reasons").closest(".scroll").hidden = !total;
  byId("reasons").querySelector("tbody").replaceChildren(...most.map(([reason, letters]) => {
    const row = document.createElement("tr");
    row.append(element("th", reason, { scope: "row" }), element("td", count(letters), { class: "number" }), element("td", facts.reasons[reason] ?? "", { class: "example" }));
    return row;
  }));
}

function stand(standing, sentence) {
  byId("standing").dataset.standing = standing;
  const place = byId("standing").querySelector("span");
  if (place.textContent !== sentence) place.textContent = sentence;
}

byId("table").addEventListener("change", ({ target }) => choose(tables.get(target.value)));
byId("statistic").addEventListener("change", ({ target }) => {
  shown.statistic = target.value;
  ask();
});
addEventListener("resize", ask);
byId("table").value = shown.name;
choose(shown);

const events = new EventSource("events");
events.addEventListener("state", ({ data }) => showState(JSON.parse(data)));
events.addEventListener("rows", ({ data }) => {
  for (const row of JSON.parse(data)) tables.get(row.table).add(row);
  ask();
});
events.addEventListener("gap", () => {
  byId("gap").hidden = false;
});
events.onerror = () => {
  readings.length = 0;
  stand("lost", "The job does not answer: it has ended or is restarting. This page will reconnect.");
};
