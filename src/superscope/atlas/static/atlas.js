"use strict";
// Draws the plots, keeps them in the page's colours, filters the index, copies commands.

const root = getComputedStyle.bind(null, document.documentElement);

function colours() {
  const style = root();
  const [text, paper, line] = ["--text", "--paper", "--line"].map((name) => style.getPropertyValue(name).trim());
  return {
    "font.color": text,
    "hoverlabel.bgcolor": paper,
    "hoverlabel.font.color": text,
    "hoverlabel.bordercolor": line,
  };
}

function draw(plot) {
  const figure = JSON.parse(plot.querySelector("script").textContent);
  const config = { responsive: true, displayModeBar: false };
  const layout = { ...figure.layout, autosize: true };
  delete layout.width;
  if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls the page, it does not zoom
  return Plotly.newPlot(plot, figure.data, layout, config).then(() => Plotly.relayout(plot, colours()));
}

async function drawAll() {
  for (const plot of document.querySelectorAll(".plot")) {
    await draw(plot);
    await new Promise((next) => setTimeout(next)); // let the page answer between two plots
  }
}

const drawn = () => document.querySelectorAll(".plot.js-plotly-plot");

function recolour() {
  drawn().forEach((plot) => Plotly.relayout(plot, colours()));
}

function setUpFilter(form) {
  const query = form.querySelector("input");
  const buttons = [...form.querySelectorAll("button[data-state]")];
  const entries = [...document.querySelectorAll(".problems > li")];
  const apply = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = buttons.filter((button) => button.ariaPressed === "true").map((button) => button.dataset.state);
    let shown = 0;
    for (const entry of entries) {
      const text = entry.textContent.toLowerCase();
      const own = entry.dataset.state.split("|");
      const keep = words.every((word) => text.includes(word)) && (!states.length || states.some((s) => own.includes(s)));
      entry.hidden = !keep;
      shown += keep;
    }
    document.querySelectorAll(".family").forEach((family) => {
      family.hidden = !family.querySelector("li:not([hidden])");
    });
    const all = shown === entries.length;
    form.querySelector("#matches").textContent = all ? "" : `${shown} of ${entries.length} problems`;
  };
  query.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of buttons) {
    button.addEventListener("click", () => {
      button.ariaPressed = button.ariaPressed === "true" ? "false" : "true";
      apply();
    });
  }
  form.hidden = false;
}

function setUpCopy(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: select it, to be copied by hand
      return;
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

if (window.Plotly) drawAll();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
document.querySelectorAll("#filter").forEach(setUpFilter);
document.querySelectorAll(".copy").forEach(setUpCopy);
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  drawn().forEach((plot) => Plotly.relayout(plot, { "font.color": "#000" }));
});
addEventListener("afterprint", recolour);
