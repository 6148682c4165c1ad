// What is wrong with the figures of a page, as a reader would see it: a list of [figure, complaint].
(() => {
  const out = [];
  for (const plot of document.querySelectorAll(".plot")) {
    const name = plot.dataset.name, box = plot.getBoundingClientRect();
    const say = (what) => out.push([name, what]);
    if (!plot.querySelector("svg.main-svg, canvas")) { say("not drawn"); continue; }
    for (const text of plot.querySelectorAll("svg.main-svg text")) {
      const at = text.getBoundingClientRect(), words = text.textContent.trim();
      if (!words || !at.width || getComputedStyle(text).opacity === "0") continue;
      if (at.left < box.left - 2 || at.right > box.right + 2) say(`clipped at the side: ${words}`);
      if (at.top < box.top - 2 || at.bottom > box.bottom + 2) say(`clipped above or below: ${words}`);
      if (/<\/?(su[bp]|b|i)>|\*\w+\*/.test(words)) say(`raw markup: ${words}`);
      if (/^[−-]?[\d.]+[fpnµm]$/.test(words)) say(`a number with a unit's prefix: ${words}`);
    }
    const legend = plot.querySelector(".legend"), area = plot.querySelector(".bglayer rect, .plotbg, .cartesianlayer .plot");
    if (legend && area) {
      const a = legend.getBoundingClientRect(), b = area.getBoundingClientRect();
      const inside = a.top < b.bottom - 4 && a.bottom > b.top + 4 && a.left < b.right - 4 && a.right > b.left + 4;
      if (inside && b.height > 1) say(`the legend lies on the plot (${Math.round(a.bottom - b.top)} px)`);
    }
    const full = plot._fullLayout, looks = new Map();
    for (const key of Object.keys(full).filter((k) => /^[xy]axis\d*$/.test(k))) {
      const axis = full[key];
      const named = axis.title?.text || axis.type === "category" || axis.type === "multicategory" || axis.tickvals || !axis.showticklabels;
      if (!axis.visible || named || axis.matches) continue;
      const shared = Object.keys(full).some((k) => k[0] === key[0] && /axis/.test(k) && full[k].title?.text);
      if (!shared) say(`${key} has no name`);
    }
    for (const trace of plot._fullData) {
      if (trace.type !== "scatter" || !trace.showlegend || !trace.visible || Array.isArray(trace.marker?.color)) continue;
      if (/^trace \d+$/.test(trace.name)) continue; // no name of its own, so nothing to tell apart by
      const look = [trace.xaxis, trace.yaxis, trace.mode.includes("lines") ? trace.line?.color : trace.marker?.color, trace.line?.dash, trace.marker?.symbol, trace.mode].join("|");
      if (looks.has(look) && looks.get(look) !== trace.name) say(`alike: ${looks.get(look)} and ${trace.name}`);
      looks.set(look, trace.name);
    }
  }
  return out;
})()
