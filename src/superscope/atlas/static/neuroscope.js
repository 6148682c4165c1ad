"use strict";
// The table of units and the page of one unit. Data files are scripts that call the functions below; text is only ever put in as text.

const article = document.querySelector(".neuroscope");
const folder = `neuroscope/${article.dataset.name}/`;
const byId = (id) => document.getElementById(id);
const waiting = new Map();

function load(file) {
  if (!waiting.has(file)) {
    waiting.set(file, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = folder + file;
      script.onload = () => resolve(script.received);
      script.onerror = () => { waiting.delete(file); reject(new Error(`${folder}${file} is missing: run superscope neuroscope again`)); };
      document.head.append(script);
    }));
  }
  return waiting.get(file);
}
const receive = (value) => { document.currentScript.received = value; };
window.neuroscopeTable = receive;
window.neuroscopeLabels = receive;
window.neuroscopeModel = receive;
window.neuroscopeShard = (number, shard) => receive(shard);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
const show = (value) => (value === null || value === undefined ? "–" : String(value).replace("-", "−"));
const percent = (value) => (value === null ? "–" : `${+(100 * value).toPrecision(2)} %`);
const visible = (text) => {
  const shown = text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll("\r", "␍");
  return shown.trim() ? shown : shown.replaceAll(" ", "␣");
};
const piece = (text) => make("span", { class: "piece" }, visible(text));

// ----------------------------------------------------------------------------------------------------------- own text

// The reader's text lives as long as the tab, from page to page; where the browser keeps nothing, until the page is left.
const kept = {
  get text() { try { return sessionStorage.getItem("neuroscope text") || ""; } catch { return ""; } },
  set text(value) { try { sessionStorage.setItem("neuroscope text", value); } catch { /* kept by the page alone */ } },
};

const model = () => { // loaded once, by the first text
  model.made ??= load("model.js").then((data) => new Forward.Model(data));
  model.made.catch(() => { model.made = null; });
  return model.made;
};

// Calls `draw(reading or null)` whenever the text changes; see Forward.Model.read for what a reading is.
function ownText(draw) {
  const box = byId("own");
  if (!box) return;
  const say = byId("read");
  const first = say.textContent;
  let timer = 0;
  const read = async () => {
    const text = box.value;
    kept.text = text;
    if (!text) {
      say.textContent = first;
      draw(null);
      return;
    }
    try {
      if (!model.made) say.textContent = "Loading the model …";
      const reading = (await model()).read(text);
      if (box.value !== text) return;
      const { length } = reading.tokens;
      say.textContent = `${length} token${length === 1 ? "" : "s"}` + (reading.left ? `; ${reading.left} more do not fit the model's context and are left out` : "");
      draw(reading);
    } catch (error) {
      say.textContent = error.message;
      draw(null);
    }
  };
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(read, 150); });
  box.value = kept.text;
  if (box.value) read();
}

// One button a token; arrow keys go from one to the next, so that Tab passes them all at once.
function tokenButtons(reading, choose) {
  const buttons = reading ? reading.pieces.map((text, k) => {
    const button = make("button", { type: "button", tabindex: k ? -1 : 0, "aria-pressed": "false" }, visible(text));
    button.addEventListener("click", () => choose(k, button));
    return button;
  }) : [];
  byId("tokens").replaceChildren(...buttons.flatMap((button, k) => (/\n/.test(reading.pieces[k]) ? [button, make("br")] : [button])));
  byId("tokens").onkeydown = (event) => {
    const at = buttons.indexOf(event.target);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (!buttons[to]) return;
    buttons[at].tabIndex = -1;
    buttons[to].tabIndex = 0;
    buttons[to].focus();
  };
  return buttons;
}

const three = (value) => show(+value.toPrecision(3));

// ------------------------------------------------------------------------------------------------------------- the table

const COLUMNS = [
  [article.dataset.kind, "number", (v) => make("a", { href: `neuroscope-${article.dataset.name}-unit.html#${v}` }, String(v))],
  ["density", "number", percent], ["kurtosis", "number", show], ["largest", "number", show],
  ["top token", "", (v) => (v ? piece(v) : "–")], ["share", "number", percent],
  ["top label", "", show], ["enrichment", "number", show], ["share", "number", percent],
  ["concepts", "number", show], ["at the top", "number", show], ["⚠", "mark", (v) => (v ? make("span", { title: "the top misleads" }, "⚠") : "")],
  ["which", "rule", (v) => v],
  ["here", "number", three], ["of largest", "number", percent],
];
const PAGE = 100;
const [LARGEST, ENRICHMENT, JUDGED, HERE, OF_LARGEST] = [3, 7, 9, 13, 14];

async function showTable() {
  const data = await load("table.js");
  const state = { sort: 0, down: false, shown: PAGE, words: [], label: null, here: null };
  const texts = data.rows.map((row) => row.join(" ").toLowerCase());
  const labels = new Map();
  const columns = () => [
    0, ...(state.here ? [HERE, OF_LARGEST] : []), ...(data.judged ? [JUDGED, JUDGED + 1, JUDGED + 2] : []),
    ...Array.from({ length: ENRICHMENT + 1 }, (_, k) => k + 1), ...(data.judged ? [JUDGED + 3] : [])];
  const cell = (unit, k) => {
    if (k === ENRICHMENT && state.label) return labels.get(state.label)[unit];
    const here = k >= HERE ? state.here[data.rows[unit][0]] : 0;
    if (k === OF_LARGEST) return data.rows[unit][LARGEST] > 0 ? here / data.rows[unit][LARGEST] : null;
    return k === HERE ? here : data.rows[unit][k];
  };
  const header = make("tr");
  const headings = () => header.replaceChildren(...columns().map((k) => {
    const button = make("button", { type: "button" }, COLUMNS[k][0]);
    const heading = make("th", { scope: "col", class: COLUMNS[k][1] }, button);
    if (COLUMNS[k][1] === "mark") button.setAttribute("aria-label", "the top misleads");
    heading.dataset.column = k;
    button.addEventListener("click", () => {
      state.down = state.sort === k ? !state.down : /number|mark/.test(COLUMNS[k][1]) && k > 0;
      state.sort = k;
      draw();
    });
    return heading;
  }));
  headings();
  article.querySelector("thead").append(header);
  const order = () => {
    const units = data.rows.map((_, unit) => unit).filter((unit) => state.words.every((word) => texts[unit].includes(word)));
    const key = (unit) => cell(unit, state.sort);
    const missing = (v) => v === null || v === undefined || v === "";
    return units.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
      const less = typeof x === "number" ? x - y : x < y ? -1 : x > y ? 1 : 0;
      return (state.down ? -less : less) || a - b;
    });
  };
  function draw() {
    const units = order();
    const rows = units.slice(0, state.shown).map((unit) =>
      make("tr", {}, ...columns().map((k) => make("td", { class: COLUMNS[k][1] }, COLUMNS[k][2](cell(unit, k))))));
    article.querySelector("tbody").replaceChildren(...rows);
    header.querySelectorAll("th").forEach((heading) => {
      if (+heading.dataset.column === state.sort) heading.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else heading.removeAttribute("aria-sort");
    });
    byId("matches").textContent = `${units.length} of ${data.rows.length}` + (state.here ? `; here: on ${state.token}` : "");
    byId("more").hidden = units.length <= state.shown;
  }
  byId("query").addEventListener("input", (event) => {
    state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    state.shown = PAGE;
    draw();
  });
  byId("more").addEventListener("click", () => { state.shown += 4 * PAGE; draw(); });
  article.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  const select = byId("by");
  const fill = async () => { // only who sorts by a label loads the labels
    if (labels.size) return;
    const all = await load("labels.js");
    for (const [name, values] of Object.entries(all)) {
      labels.set(name, values);
      select.append(make("option", { value: name }, name));
    }
  };
  select.addEventListener("focus", fill, { once: true });
  select.addEventListener("pointerdown", fill, { once: true });
  select.addEventListener("change", () => {
    state.label = select.value || null;
    [state.sort, state.down, state.shown] = [ENRICHMENT, true, PAGE];
    draw();
  });
  const pick = (here, token = "") => { // sort by one token of the reader's text, or go back to numbers
    if (!here && !state.here) return;
    const by = state.sort === OF_LARGEST ? OF_LARGEST : HERE;
    [state.here, state.token, state.shown] = [here, token, PAGE];
    if (here) [state.sort, state.down] = [by, true];
    else if (state.sort >= HERE) [state.sort, state.down] = [0, false];
    headings();
    draw();
  };
  draw();
  ownText((reading) => {
    pick(null);
    if (reading) byId("read").textContent += ". Choose a token for what fires on it.";
    const buttons = tokenButtons(reading, (k, button) => {
      const again = button.getAttribute("aria-pressed") === "true";
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button && !again)));
      if (again) pick(null);
      else pick(reading.values.subarray(k * reading.units, (k + 1) * reading.units), `“${visible(reading.pieces[k])}”, token ${k + 1} of ${reading.tokens.length}`);
    });
  });
}

// -------------------------------------------------------------------------------------------------------------- one unit

function tint(share) {
  const strength = Math.min(85, Math.round(85 * Math.abs(share)));
  if (strength < 3) return "";
  return `color-mix(in srgb, var(--${share > 0 ? "positive" : "negative"}) ${strength}%, transparent)`;
}

function example([origin, peak, tokens, thousandths], unit, words) {
  const text = make("p", { class: "text" });
  tokens.forEach((token, k) => {
    const share = thousandths[k] / 1000;
    const span = make("span", k === peak ? { class: "peak" } : {});
    for (const part of words[token].split(/(\n|\t)/)) {
      if (part === "\n") span.append(make("i", { class: "sign" }, "↵"), "\n");
      else if (part === "\t") span.append(make("i", { class: "sign" }, "⇥"));
      else if (part) span.append(part);
    }
    span.style.background = tint(share);
    span.dataset.value = `${visible(words[token])}   ${show(+(share * unit.scale).toPrecision(3))}`;
    text.append(span);
  });
  const value = +((thousandths[peak] / 1000) * unit.scale).toPrecision(3);
  return make("li", {}, make("div", { class: "origin" }, make("span", {}, origin), make("span", {}, show(value))), text);
}

function table(id, headings, rows) {
  const head = make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text)));
  const none = make("tr", {}, make("td", { colspan: headings.length }, "none"));
  byId(id).replaceChildren(make("thead", {}, head), make("tbody", {}, ...(rows.length
    ? rows.map((row) => make("tr", {}, ...row.map((entry) => make("td", {}, entry)))) : [none])));
}

function edge(index) { // the bins of a scan: 160 per sign, eight per octave from 2^-10
  const step = Math.abs(index - 160.5) - 0.5;
  return Math.sign(index - 160.5) * 2 ** (Math.floor(step / 8) - 10) * (1 + (step % 8) / 8);
}

function svg(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function histogram(unit) {
  const { low, high, strong } = unit.facts;
  const [width, height, bottom, left] = [720, 170, 22, 62];
  const bins = 60, step = (high - low) / bins || 1;
  const counts = new Array(bins).fill(0);
  unit.histogram.counts.forEach((count, k) => { // logarithmic bins, shared out over equal ones
    const [a, b] = [Math.max(edge(unit.histogram.first + k), low), Math.min(edge(unit.histogram.first + k + 1), high)];
    const first = Math.min(bins - 1, Math.max(0, Math.floor((a - low) / step)));
    const last = Math.min(bins - 1, Math.max(first, Math.ceil((b - low) / step) - 1));
    for (let j = first; j <= last; j += 1) counts[j] += count / (last - first + 1);
  });
  const top = Math.log10(Math.max(...counts) + 1);
  const x = (v) => left + ((v - low) / (high - low || 1)) * (width - left - 8);
  const y = (c) => height - bottom - (Math.log10(c + 1) / top) * (height - bottom - 14);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Histogram of activations, logarithmic counts" });
  for (let power = 0; power <= top; power += 2) {
    picture.append(svg("line", { x1: left, x2: width - 8, y1: y(10 ** power), y2: y(10 ** power) }));
    picture.append(svg("text", { x: left - 6, y: y(10 ** power) + 4, "text-anchor": "end" }, String(10 ** power)));
  }
  counts.forEach((count, k) => {
    if (!count) return;
    const from = low + k * step;
    const bar = svg("rect", { x: x(from) + 0.5, width: Math.max(1, x(from + step) - x(from) - 1), y: y(count), height: height - bottom - y(count) });
    if (from + step / 2 < 0) bar.setAttribute("class", "negative");
    picture.append(bar);
  });
  picture.append(svg("line", { class: "strong", x1: x(strong), x2: x(strong), y1: 4, y2: height - bottom }));
  picture.append(svg("text", { x: x(strong) + 4, y: 12 }, "strong"));
  for (const value of [low, (low + high) / 2, high]) {
    const anchor = value === low ? "start" : value === high ? "end" : "middle";
    picture.append(svg("text", { x: x(value), y: height - 6, "text-anchor": anchor }, show(+value.toPrecision(2))));
  }
  byId("histogram").replaceChildren(picture);
}

// ------------------------------------------------------------------------------------------- the reader's text, on one unit

const own = { reading: null, unit: null };

function colour(unit = own.unit) { // tokens tinted by this unit's activation, as a share of its largest in the corpus
  own.unit = unit;
  const { reading } = own;
  if (!unit || !byId("tokens")) return;
  const value = (k) => reading.values[k * reading.units + unit.number];
  const fired = unit.scale > 1e-20; // a unit that was always 0 has no largest
  const share = (k) => (fired ? value(k) / unit.scale : Math.sign(value(k)));
  const told = (k) => `${visible(reading.pieces[k])}   ${three(value(k))}` + (fired ? `, ${percent(share(k))} of its largest` : ", never on in the corpus");
  const buttons = tokenButtons(reading, (k, button) => {
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
    byId("read").textContent = told(k);
  });
  buttons.forEach((button, k) => {
    button.style.background = tint(share(k));
    button.dataset.value = told(k);
  });
}

const NAMES = { density: "density", kurtosis: "excess kurtosis", skew: "skew", mean: "mean", sd: "standard deviation",
  low: "smallest", high: "largest", strong: "strong above" };

async function showUnit() {
  const count = +article.dataset.units;
  if (location.hash === "#random") history.replaceState(null, "", `#${Math.floor(Math.random() * count)}`);
  const number = Math.min(count - 1, Math.max(0, parseInt(location.hash.slice(1), 10) || 0));
  const shard = Math.floor(number / +article.dataset.shard);
  let data;
  try {
    data = await load(`units-${String(shard).padStart(4, "0")}.js`);
  } catch (error) {
    byId("state").textContent = error.message;
    return;
  }
  const unit = data.units[number - shard * +article.dataset.shard];
  const words = data.vocabulary;
  const kind = article.dataset.kind;
  byId("name").textContent = `${kind[0].toUpperCase()}${kind.slice(1)} ${unit.number}`;
  document.title = `${kind} ${unit.number} · ${byId("name").previousElementSibling.textContent} · neuroscope`;
  byId("jump").value = number;
  byId("before").href = `#${(number + count - 1) % count}`;
  byId("after").href = `#${(number + 1) % count}`;
  byId("facts").replaceChildren(...Object.entries(unit.facts).map(([name, value]) =>
    make("div", {}, make("dt", {}, NAMES[name]), make("dd", {}, name === "density" ? percent(value) : show(value)))));
  byId("judged").hidden = !unit.judged;
  if (unit.judged) {
    const [whole, firing, word, named, misleads] = unit.judged;
    const said = (number) => (number === null ? "no sure concept" : `${show(number)} concept${number === 1 ? "" : "s"}`);
    byId("whole").textContent = said(whole);
    byId("firing").textContent = said(firing);
    byId("misleads").hidden = !misleads;
    byId("rule").textContent = `By height: ${named.map(([name, height]) => `${name} (${show(height)})`).join(", ") || "none that is sure"}. ` +
      `Share of the most frequent word: ${percent(word)}.`;
  }
  colour(unit);
  histogram(unit);
  table("labels", ["label", "log₂ ratio", "share", "firings"],
    unit.labels.map(([what, label, value, share, firings]) => [make("span", {}, label, make("span", { class: "of" }, ` ${what}`)), show(value), percent(share), show(firings)]));
  byId("firings").textContent =
    `In a sample of ${unit.firings} strong firings. The listed tokens cover ${percent(unit.covered)} of them, the most frequent ${percent(unit.single)}.`;
  const grams = (rows) => rows.map(([ids, share, lift]) => [make("span", {}, ...ids.map((id) => piece(words[id]))), percent(share), `× ${show(lift)}`]);
  for (const name of ["current", "previous", "bigrams"]) table(name, ["token", "share", "over corpus"], grams(unit.grams[name]));
  for (const name of ["up", "down"]) {
    byId(`${name}s`).hidden = !unit[name];
    if (unit[name]) table(name, ["token", "effect"], unit[name].map(([id, value]) => [piece(words[id]), show(value)]));
  }
  byId("alike").hidden = !unit.similar;
  if (unit.similar) {
    table("similar", [kind, "correlation"], unit.similar.map(([other, r]) => [make("a", { href: `#${other}` }, `${kind} ${other}`), show(r)]));
  }
  byId("top").replaceChildren(...unit.top.map((one) => example(one, unit, words)));
  byId("strata").replaceChildren(...unit.strata.flatMap(([low, high, share, examples]) => [
    make("h3", {}, `${show(low)} to ${show(high)} · ${percent(share)} of tokens`),
    make("ol", { class: "examples" }, ...examples.map((one) => example(one, unit, words)))]));
  byId("state").hidden = true;
  byId("unit").hidden = false;
  reachable();
}

function reachable() { // a column that scrolls sideways can be scrolled by keyboard
  article.querySelectorAll(".columns section").forEach((column) => {
    const named = { tabindex: "0", role: "region", "aria-label": column.querySelector("h2").textContent };
    const wide = column.scrollWidth > column.clientWidth;
    for (const [name, value] of Object.entries(named)) {
      if (wide) column.setAttribute(name, value);
      else column.removeAttribute(name);
    }
  });
}

function setUpUnit() {
  const value = byId("value");
  const tell = (event, x, y) => {
    const text = event.target.closest?.("[data-value]")?.dataset.value;
    value.hidden = !text;
    if (!text) return;
    value.textContent = text;
    value.style.left = `${Math.max(0, Math.min(x + 12, innerWidth - value.offsetWidth - 8))}px`;
    value.style.top = `${y + 16}px`;
  };
  article.addEventListener("pointermove", (event) => tell(event, event.clientX, event.clientY));
  article.addEventListener("focusin", (event) => {
    const box = event.target.getBoundingClientRect();
    tell(event, box.left, box.bottom - 8);
  });
  byId("random").addEventListener("click", () => { // another than this one, each as likely
    const count = +article.dataset.units;
    const step = 1 + Math.floor(Math.random() * Math.max(1, count - 1));
    location.hash = String((+byId("jump").value + step) % count);
  });
  ownText((reading) => { own.reading = reading; colour(); });
  byId("jump").addEventListener("change", (event) => { location.hash = String(+event.target.value); });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") byId("before").click();
    if (event.key === "ArrowRight") byId("after").click();
  });
  addEventListener("hashchange", showUnit);
  addEventListener("resize", reachable);
  return showUnit();
}

if (article.dataset.view === "table") showTable().catch((error) => { byId("matches").textContent = error.message; });
else setUpUnit();
