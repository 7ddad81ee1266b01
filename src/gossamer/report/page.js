/* Tables sort and filter, plots follow them. Without scripts everything is there, in order. */
"use strict";

const make = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};
const rowsOf = table => [...table.tBodies[0].rows];
const FEWEST = 6; /* rows that are worth a filter */

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      table.tBodies[0].append(...rowsOf(table).sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      }));
      table.dispatchEvent(new Event("changed"));
    });
  });
}

/* A row has one value, or several between bars, for each facet that its table names. */
function filterable(table) {
  const rows = rowsOf(table);
  if (rows.length < FEWEST) return;
  const texts = new Map(rows.map(row =>
    [row, [...row.cells].map(cell => cell.textContent).join(" ").toLowerCase()]));
  const search = make("input", { type: "search", autocomplete: "off", spellcheck: false });
  const facets = (table.dataset.facets ?? "").split("|").map((name, index) => {
    const of = row => (row.dataset[`f${index}`] ?? "").split("|").filter(Boolean);
    const values = [...new Set(rows.flatMap(of))].sort((a, b) =>
      isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    const options = values.map(value => make("option", { value }, value));
    const select = make("select", {}, make("option", { value: "" }, "all"), ...options);
    return { name, of, select, isUseful: values.length > 1 };
  }).filter(facet => facet.isUseful);
  const all = () => make("button", { type: "button", className: "all" }, "Show all");
  const clear = all(), again = all();
  const count = make("output", {});
  const none = make("p", { className: "none" }, "No row fits. ", again);
  const bar = make("div", { className: "filter" },
    make("label", {}, make("span", {}, "search"), search),
    ...facets.map(f => make("label", {}, make("span", {}, f.name), f.select)), clear, count);
  bar.setAttribute("role", "search");
  bar.setAttribute("aria-label", table.getAttribute("aria-label"));

  const update = () => {
    const words = search.value.toLowerCase().split(" ").filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every(word => texts.get(row).includes(word))
        && facets.every(f => !f.select.value || f.of(row).includes(f.select.value));
      row.hidden = !fits;
      shown += fits;
    }
    count.value = `${shown} of ${rows.length} shown`;
    none.hidden = shown > 0;
    clear.hidden = !search.value && facets.every(f => !f.select.value);
    table.dispatchEvent(new Event("changed"));
  };
  const reset = () => {
    search.value = "";
    facets.forEach(f => { f.select.value = ""; });
    update();
    search.focus();
  };
  search.addEventListener("input", update);
  facets.forEach(f => f.select.addEventListener("change", update));
  [clear, again].forEach(button => button.addEventListener("click", reset));
  table.parentElement.before(bar);
  table.parentElement.after(none);
  update();
}

/* One stop of the Tab key for all of `items()`; arrows go from one to the next. */
function arrows(container, items) {
  const settle = () => items().forEach((item, index) => { item.tabIndex = index ? -1 : 0; });
  container.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const found = items(), at = found.indexOf(event.target);
    if (!step || at < 0 || !found[at + step]) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    found[at + step].tabIndex = 0;
    found[at + step].focus();
  });
  return settle;
}

const HINT = matchMedia("(pointer: coarse)").matches
  ? "Tap a mark." : "Point at a mark, or Tab to one and use the arrow keys.";

/* What has the same data-mark is one thing: the row of a table, its marks and names in plots. */
function linked(table) {
  const things = [...document.querySelectorAll("[data-mark]")];
  const plots = [...document.querySelectorAll("svg.linked")];
  const rows = () => rowsOf(table).filter(row => !row.hidden);
  const marksIn = plot => [...plot.querySelectorAll("g[data-mark]:not(.dim)")]
    .sort((a, b) => a.dataset.mark - b.dataset.mark);
  const settles = [arrows(table, rows), ...plots.map(plot => arrows(plot, () => marksIn(plot)))];
  const told = [...new Set(plots.map(plot => plot.closest("section")))].map(place => {
    const text = make("p", { className: "told" });
    [...place.querySelectorAll("svg.linked")].pop().parentElement.after(text);
    return text;
  });
  const light = key => {
    things.forEach(thing => thing.classList.toggle("lit", thing.dataset.mark === key));
    const mark = plots[0]?.querySelector(`g[data-mark="${key}"] title`);
    const text = mark?.textContent ?? HINT;
    told.forEach(place => { place.textContent = text; });
  };
  const rest = () => light(document.activeElement?.dataset?.mark);
  for (const thing of things) {
    thing.addEventListener("pointerenter", () => light(thing.dataset.mark));
    thing.addEventListener("focus", () => light(thing.dataset.mark));
    thing.addEventListener("pointerleave", rest);
    thing.addEventListener("blur", () => light());
    thing.addEventListener("keydown", event => {
      if (event.key !== "Enter" || event.target !== thing) return;
      const other = things.find(t => t.dataset.mark === thing.dataset.mark
        && (t.tagName === "TR") !== (thing.tagName === "TR") && t.getClientRects().length);
      other?.focus();
    });
  }
  table.addEventListener("changed", () => {
    const shown = new Set(rows().map(row => row.dataset.mark));
    things.forEach(thing => thing.classList.toggle("dim", !shown.has(thing.dataset.mark)));
    settles.forEach(settle => settle());
  });
  light();
  settles.forEach(settle => settle());
}

for (const table of document.querySelectorAll("table.linked")) linked(table);
for (const table of document.querySelectorAll("table.sortable")) sortable(table);
for (const table of document.querySelectorAll("table.filterable")) filterable(table);
