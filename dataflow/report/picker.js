// Choosing keys: chips that are buttons, their line samples (the legend of every chart), and a search box for many keys.

const SOLID_AND_DASHED = ["none", "6 3", "2 2"];
const COLOURS = 8;
const SLOTS = COLOURS * SOLID_AND_DASHED.length;
const CHIPS = 24;

function drawSample(slot) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 18 6");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("sample");
  const line = document.createElementNS(svg.namespaceURI, "line");
  for (const [name, value] of Object.entries({ x1: 0, y1: 3, x2: 18, y2: 3 })) line.setAttribute(name, value);
  line.style.stroke = `var(--series-${(slot % COLOURS) + 1})`;
  line.style.strokeDasharray = SOLID_AND_DASHED[Math.floor(slot / COLOURS)];
  svg.append(line);
  return svg;
}

class KeyPicker {
  constructor(element, table, firstKeys, onChange) {
    this.table = table;
    this.onChange = onChange;
    this.chosen = new Map();
    table.keys.slice(0, firstKeys).forEach((_, key) => this.chosen.set(key, key));
    if (!element) return;
    this.chips = element.querySelector(".chips");
    this.status = element.querySelector(".status");
    this.search = element.querySelector("input");
    this.firstKeys = firstKeys;
    this.search.closest("label").hidden = table.keys.length <= CHIPS;
    this.search.addEventListener("input", () => this.show());
    this.chips.addEventListener("click", ({ target }) => {
      const chip = target.closest("button");
      if (chip) this.toggle(Number(chip.dataset.key));
    });
    element.querySelector(".choose-top").addEventListener("click", () => {
      this.choose(table.keys.slice(0, firstKeys).map((_, key) => key));
    });
    element.querySelector(".choose-none").addEventListener("click", () => this.choose([]));
    element.hidden = false;
    this.show();
  }

  // A key keeps its colour for as long as it is chosen; a new one takes the first that is free.
  choose(keys) {
    const kept = new Map([...this.chosen].filter(([key]) => keys.includes(key)));
    for (const key of keys) {
      if (!kept.has(key)) kept.set(key, this.freeSlot(kept));
    }
    this.chosen = kept;
    this.show();
    this.onChange();
  }

  toggle(key) {
    const keys = [...this.chosen.keys()];
    if (this.chosen.has(key)) this.choose(keys.filter((other) => other !== key));
    else if (keys.length < SLOTS) this.choose([...keys, key]);
    else this.status.textContent = `No more than ${SLOTS} keys can be distinguished: remove one first.`;
  }

  freeSlot(chosen) {
    const taken = new Set(chosen.values());
    let slot = 0;
    while (taken.has(slot)) slot += 1;
    return slot;
  }

  show() {
    const focused = this.chips.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const words = this.search.value.trim().toLowerCase();
    let room = CHIPS;
    let hidden = 0;
    const chips = [];
    this.table.keys.forEach(({ label, rows }, key) => {
      const isChosen = this.chosen.has(key);
      if (!isChosen) {
        if (words && !label.toLowerCase().includes(words)) return;
        if (room === 0) {
          hidden += 1;
          return;
        }
        room -= 1;
      }
      chips.push(this.chip(key, label, rows, isChosen));
    });
    this.chips.replaceChildren(...chips);
    if (focused != null) (this.chips.querySelector(`[data-key="${focused}"]`) ?? this.search).focus();
    const found = words && !chips.length ? `No key matches among the ${this.table.keys.length} held here. ` : "";
    const more = hidden ? ` ${hidden.toLocaleString("en")} more: search to find them.` : "";
    this.status.textContent = `${found}${this.chosen.size} of ${this.table.keys.length} chosen.${more}`;
  }

  chip(key, label, rows, isChosen) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.key = key;
    chip.title = `${writeNumber(rows)} rows`;
    chip.setAttribute("aria-pressed", isChosen);
    if (isChosen) chip.append(drawSample(this.chosen.get(key)));
    const name = document.createElement("bdi");
    name.textContent = label;
    chip.append(name);
    return chip;
  }
}
