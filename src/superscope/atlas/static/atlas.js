"use strict";
// Filters the index, copies commands, opens what a link points into.

function setUpFilter(form) {
  const query = form.querySelector("input");
  const buttons = [...form.querySelectorAll("button[data-state]")];
  const entries = [...document.querySelectorAll(".problems > li")];
  const families = [...document.querySelectorAll(".family")].filter((family) => family.querySelector(".problems"));
  const apply = () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = buttons.filter((button) => button.ariaPressed === "true").map((button) => button.dataset.state);
    let shown = 0;
    for (const entry of entries) {
      const text = `${entry.textContent} ${entry.dataset.words ?? ""}`.toLowerCase();
      const own = entry.dataset.state.split("|");
      const keep = words.every((word) => text.includes(word)) && (!states.length || states.some((s) => own.includes(s)));
      entry.hidden = !keep;
      shown += keep;
    }
    families.forEach((family) => {
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

document.querySelectorAll("#filter").forEach(setUpFilter);
document.querySelectorAll(".copy").forEach(setUpCopy);
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
});
const opened = () => document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details")?.setAttribute("open", "");
addEventListener("hashchange", opened);
opened();
