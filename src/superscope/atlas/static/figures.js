"use strict";
// Draws each figure when it comes near the screen, in the page's colours; plotly.js itself is loaded with the first.

const bundle = document.currentScript.dataset.plotly;
const root = getComputedStyle.bind(null, document.documentElement);
let plotly = null;

function library() {
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = bundle;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error(`${bundle} is missing: build the atlas again`));
    document.head.append(script);
  });
  return plotly;
}

function colours() {
  const style = root();
  const [text, paper, line] = ["--text", "--paper", "--line"].map((name) => style.getPropertyValue(name).trim());
  return { "font.color": text, "hoverlabel.bgcolor": paper, "hoverlabel.font.color": text, "hoverlabel.bordercolor": line };
}

// Text broken at blanks into lines of at most so many characters.
function wrapped(text, most) {
  if (!text || text.includes("<br>") || text.length <= most) return text;
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (longer.length > most && lines.at(-1)) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines.join("<br>");
}

function legendEntries(data) {
  const named = data.filter((trace) => trace.showlegend !== false && trace.name && trace.visible !== false);
  return [...new Set(named.map((trace) => trace.name))];
}

// Long names of categories take more lines instead of most of the figure.
function breakLabels(layout, data, letter, most) {
  const names = new Map();
  for (const trace of data) {
    const axis = (trace[`${letter}axis`] ?? letter).replace(letter, `${letter}axis`);
    const values = Array.isArray(trace[letter]) ? trace[letter] : [];
    if (!values.every((one) => typeof one === "string")) continue;
    values.forEach((one) => (names.get(axis) ?? names.set(axis, new Set()).get(axis)).add(one));
  }
  for (const [axis, found] of names) {
    const all = [...found];
    if (layout[axis]?.tickvals || !all.some((one) => one.length > most)) continue;
    layout[axis] = { ...layout[axis], tickvals: all, ticktext: all.map((one) => wrapped(one, most)) };
  }
}

function fitted(figure, plot) {
  const template = JSON.parse(document.getElementById("template").textContent);
  const layout = { ...figure.layout, template, autosize: true };
  const look = colours();
  layout.font = { ...layout.font, color: look["font.color"] };
  layout.hoverlabel = {
    ...layout.hoverlabel, bgcolor: look["hoverlabel.bgcolor"], bordercolor: look["hoverlabel.bordercolor"],
    font: { ...layout.hoverlabel?.font, color: look["font.color"] },
  };
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page, it does not zoom
  const width = plot.clientWidth, narrow = width < 520;
  const height = layout.height ?? 380;
  if (narrow) {
    layout.font = { ...layout.font, size: 11 };
    const entries = legendEntries(figure.data);
    if (entries.length > 1 && layout.showlegend !== false) { // beside or above, a legend would cover a narrow plot: one column below
      const lines = entries.map((name) => wrapped(name, width / 7).split("<br>").length).reduce((sum, one) => sum + one, 0);
      const room = 17 * lines + 12;
      layout.legend = {
        ...layout.legend, orientation: "h", entrywidth: 1, entrywidthmode: "fraction", x: 0, xanchor: "left", y: 0, yref: "container",
        yanchor: "bottom", font: { size: 10 },
      };
      layout.height = height + room;
    }
  }
  const letter = narrow ? 6.2 : 7.2;
  for (const [name, axis] of Object.entries(layout)) {
    if (!/^[xy]axis\d*$/.test(name) || !axis.title?.text) continue;
    const [from, to] = axis.domain ?? [0, 1];
    const room = (name[0] === "x" ? width - 80 : height - 110) * Math.max(to - from, 0.2);
    layout[name] = { ...axis, title: { ...axis.title, text: wrapped(axis.title.text, room / letter) } };
  }
  layout.annotations = (layout.annotations ?? []).map((one) => {
    if (!narrow || one.showarrow || one.xref !== "paper" || one.xanchor !== "center") return one;
    const text = wrapped(one.text, (2 * Math.min(one.x, 1 - one.x) * (width - 70)) / letter);
    if (one.y > 0.95) layout.margin = { ...layout.margin, t: Math.max(layout.margin?.t ?? 24, 16 + 15 * text.split("<br>").length) };
    return { ...one, text };
  });
  layout.sliders = (layout.sliders ?? []).map((one) => ({ ...one, pad: { ...one.pad, l: 28, r: 44 } })); // room for the end labels
  for (const letterOf of ["x", "y"]) breakLabels(layout, figure.data, letterOf, narrow ? 16 : letterOf === "x" ? 18 : 40);
  return layout;
}

// Axis names that stick out after all (long labels beside them narrow the plot) are broken into more lines.
async function mend(plot) {
  for (const share of [0.8, 0.6, 0.45]) {
    const box = plot.getBoundingClientRect(), changes = {};
    for (const title of plot.querySelectorAll(".infolayer [class^='g-']")) {
      const axis = title.getAttribute("class").match(/^g-([xy])(\d*)title$/), at = title.getBoundingClientRect();
      if (!axis || (at.left >= box.left && at.right <= box.right && at.top >= box.top && at.bottom <= box.bottom)) continue;
      const name = `${axis[1]}axis${axis[2]}`, text = plot.layout[name].title.text.replaceAll("<br>", " ");
      changes[`${name}.title.text`] = wrapped(text, share * (axis[1] === "x" ? box.width / 7 : box.height / 8));
    }
    if (!Object.keys(changes).length) return;
    await Plotly.relayout(plot, changes);
  }
}

async function draw(plot) {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const figure = JSON.parse(plot.querySelector("script").textContent);
  const Plotly = await library();
  const layout = fitted(figure, plot);
  await Plotly.newPlot(plot, figure.data, layout, { responsive: true, displayModeBar: false });
  await mend(plot);
  plot.parentElement.append(tools(plot, figure));
}

function tools(plot, figure) {
  const bar = document.createElement("p");
  bar.className = "tools";
  for (const format of ["png", "svg"]) {
    bar.append(button(format.toUpperCase(), () =>
      Plotly.downloadImage(plot, { format, filename: plot.dataset.name, width: 1000, height: plot.clientHeight, scale: 2 })));
  }
  bar.append(button("data of this figure", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(figure)], { type: "application/json" }));
    link.download = `${plot.dataset.name}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  }));
  return bar;
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

const plots = [...document.querySelectorAll(".plot")];
const near = new IntersectionObserver((seen) => {
  for (const one of seen) {
    if (one.isIntersecting) {
      near.unobserve(one.target);
      draw(one.target);
    }
  }
}, { rootMargin: "400px" });
plots.forEach((plot) => near.observe(plot));
window.drawAll = () => Promise.all(plots.map(draw));

const drawn = () => document.querySelectorAll(".plot.js-plotly-plot");
const recolour = () => drawn().forEach((plot) => Plotly.relayout(plot, colours()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
addEventListener("beforeprint", () => drawn().forEach((plot) => Plotly.relayout(plot, { "font.color": "#000" })));
addEventListener("afterprint", recolour);
