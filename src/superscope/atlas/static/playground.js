"use strict";
// The ReLU output model x -> W x -> ReLU(W^T W x + b), trained in the page by the engine's recipe: Adam with a cosine decay on
// weighted points, strata of which features are on with their exact probabilities. Loss: L = E_x sum_i I_i (x_i - y_i)^2.

const Playground = (() => {
  const NEGLIGIBLE = 1e-12; // subsets rarer than this are dropped, their mass spread over the others

  // A setting is {n, m, density, decay, low, high}: values are uniform on [low, high], or that constant.

  function importances({ n, decay }) {
    return Array.from({ length: n }, (_, i) => decay ** i);
  }

  // Every subset of features that can be on, with its probability and how many points it gets: shares go by the root of the
  // probability, and a subset whose point is known gets one. alone: points of one feature on alone, where it shall not share;
  // its values lie on a line, which few points cover.
  function strata({ n, density, low, high }, budget, alone = 0) {
    let out = [];
    for (let bits = 0; bits < 2 ** n; bits += 1) {
      const members = Array.from({ length: n }, (_, i) => i).filter((i) => (bits >> i) & 1);
      const chance = density ** members.length * (1 - density) ** (n - members.length);
      if (chance > NEGLIGIBLE) out.push({ members, chance });
    }
    const sum = out.reduce((total, { chance }) => total + chance, 0);
    const share = ({ members, chance }) => (alone && members.length < 2 ? 0 : Math.sqrt(chance));
    const roots = out.reduce((total, one) => total + share(one), 0) || 1;
    const points = (one) => (alone && one.members.length === 1 ? alone : Math.max(1, Math.round((budget * share(one)) / roots)));
    return out.map((one) => ({
      members: one.members,
      mass: one.chance / sum,
      count: one.members.length && low < high ? points(one) : 1,
    }));
  }

  const lattice = new Map(); // dimensions -> steps of the Kronecker lattice of the generalised golden ratio
  function steps(dims, count) {
    if (dims === 1) return [1 / count];
    if (!lattice.has(dims)) {
      let root = 2;
      for (let k = 0; k < 60; k += 1) root = (1 + root) ** (1 / (dims + 1));
      lattice.set(dims, Array.from({ length: dims }, (_, k) => root ** -(k + 1)));
    }
    return lattice.get(dims);
  }

  // {x (point, n), weight (point)}: each stratum's values on a lattice with a random shift, so that every point is uniform.
  function draw(plan, { n, low, high }, random) {
    const points = plan.reduce((total, { count }) => total + count, 0);
    const [x, weight] = [new Float64Array(points * n), new Float64Array(points)];
    let at = 0;
    for (const { members, mass, count } of plan) {
      const step = steps(members.length, count);
      const shift = members.map(() => (low < high ? random() : 0));
      for (let k = 0; k < count; k += 1, at += 1) {
        weight[at] = mass / count;
        members.forEach((i, d) => { x[at * n + i] = low + (high - low) * ((shift[d] + k * step[d]) % 1); });
      }
    }
    return { x, weight };
  }

  function generator(seed) { // mulberry32: uniform on [0, 1)
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function start({ n, m }, random) { // W (hidden, feature), Xavier normal as the engine's
    const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Float64Array.from({ length: m * n }, () => Math.fround(Math.sqrt(2 / (m + n)) * normal()));
  }

  class Network {
    constructor(setting, W, recipe) {
      this.setting = setting;
      this.recipe = recipe;
      this.importance = importances(setting);
      this.W = Float64Array.from(W);
      this.b = new Float64Array(setting.n);
      this.taken = 0;
      this.moments = [this.W, this.b].map((p) => [new Float64Array(p.length), new Float64Array(p.length)]);
    }

    // Hands h (m) and y (n) of every point to `each(point, h, y)`.
    forward({ x }, each) {
      const { n, m } = this.setting;
      const { W, b } = this;
      const [h, y] = [new Float64Array(m), new Float64Array(n)];
      for (let p = 0; p < x.length / n; p += 1) {
        h.fill(0);
        for (let a = 0; a < m; a += 1) for (let i = 0; i < n; i += 1) h[a] += W[a * n + i] * x[p * n + i];
        for (let i = 0; i < n; i += 1) {
          let z = b[i];
          for (let a = 0; a < m; a += 1) z += W[a * n + i] * h[a];
          y[i] = Math.max(z, 0);
        }
        each(p, h, y);
      }
    }

    loss(points) {
      const { n } = this.setting;
      let total = 0;
      this.forward(points, (p, h, y) => {
        for (let i = 0; i < n; i += 1) total += points.weight[p] * this.importance[i] * (points.x[p * n + i] - y[i]) ** 2;
      });
      return total;
    }

    gradients(points) {
      const { n, m } = this.setting;
      const { W } = this;
      const [dW, db, g] = [new Float64Array(m * n), new Float64Array(n), new Float64Array(n)];
      this.forward(points, (p, h, y) => {
        for (let i = 0; i < n; i += 1) {
          g[i] = y[i] > 0 ? 2 * points.weight[p] * this.importance[i] * (y[i] - points.x[p * n + i]) : 0;
          db[i] += g[i];
        }
        for (let a = 0; a < m; a += 1) {
          let back = 0;
          for (let i = 0; i < n; i += 1) back += W[a * n + i] * g[i];
          for (let i = 0; i < n; i += 1) dW[a * n + i] += h[a] * g[i] + back * points.x[p * n + i];
        }
      });
      return [dW, db];
    }

    step(points) { // one step of Adam (Kingma & Ba)
      const { lr, steps: all, beta1, beta2, eps } = this.recipe;
      const rate = (lr * (1 + Math.cos((Math.PI * this.taken) / all))) / 2;
      this.taken += 1;
      const gradients = this.gradients(points);
      [this.W, this.b].forEach((parameter, k) => {
        const [first, second] = this.moments[k];
        gradients[k].forEach((value, j) => {
          first[j] += (1 - beta1) * (value - first[j]);
          second[j] = beta2 * second[j] + (1 - beta2) * value * value;
          const size = Math.sqrt(second[j] / (1 - beta2 ** this.taken)) + eps;
          parameter[j] -= ((rate / (1 - beta1 ** this.taken)) * first[j]) / size;
        });
      });
    }

    dimensionality() { // D_i = |W_i|^2 / sum_j (What_i . W_j)^2
      const { n, m } = this.setting;
      const dot = (i, j) => Array.from({ length: m }, (_, a) => this.W[a * n + i] * this.W[a * n + j]).reduce((s, v) => s + v, 0);
      return Array.from({ length: n }, (_, i) => {
        const own = dot(i, i);
        const shared = Array.from({ length: n }, (__, j) => dot(i, j) ** 2).reduce((s, v) => s + v, 0);
        return own > 1e-8 ? own ** 2 / shared : 0;
      });
    }
  }

  return { Network, draw, generator, importances, start, strata };
})();
if (typeof window !== "undefined") window.Playground = Playground;

// ------------------------------------------------------------------------------------------------------------- the page

(() => {
  const page = document.querySelector(".playground");
  if (!page) return;
  const known = window.playgroundData;
  const byId = (id) => document.getElementById(id);
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f"];
  const TRAINING = 256; // points a step, about
  const [EVALUATION, ALONE] = [16384, 128]; // points of the expected loss
  const FRAMES = 120; // a training is shown in so many pictures
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const state = { network: null, random: null, plan: null, evaluation: null, losses: [], running: false, turn: 0 };

  function svg(tag, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }
  const round = (value, digits = 3) => String(+value.toPrecision(digits)).replace("-", "−");

  function chosen() {
    const [low, high] = known.values[byId("values").value];
    return {
      n: +byId("n").value, m: +byId("m").value, density: known.densities[+byId("density").value],
      decay: +byId("decay").value, low, high, seed: Math.max(0, Math.floor(+byId("seed").value) || 0),
    };
  }

  function reference({ n, m, density, decay }) { // the engine's best loss; 0 where there is room for every feature
    if (n <= m) return 0;
    const row = known.rows.find((one) => one.n === n && one.m === m && one.decay === decay && one.values === byId("values").value);
    return row.loss[known.densities.indexOf(density)];
  }

  function reset() {
    state.running = false;
    const setting = chosen();
    state.random = Playground.generator(setting.seed + 1);
    state.start = Playground.start(setting, state.random);
    state.network = new Playground.Network(setting, state.start, known.recipe);
    state.plan = Playground.strata(setting, TRAINING);
    state.evaluation = Playground.draw(Playground.strata(setting, EVALUATION, ALONE), setting, Playground.generator(0));
    state.losses = [[0, state.network.loss(state.evaluation)]];
    byId("n-shown").textContent = setting.n;
    byId("density-shown").textContent = setting.density;
    byId("turning").hidden = setting.m !== 3;
    byId("said").textContent = "";
    code(setting);
    draw();
  }

  function advance(count) {
    const { network, plan, random } = state;
    const steps = Math.min(count, known.recipe.steps - network.taken);
    for (let k = 0; k < steps; k += 1) network.step(Playground.draw(plan, network.setting, random));
    state.losses.push([network.taken, network.loss(state.evaluation)]);
  }
  const done = () => state.network.taken >= known.recipe.steps;

  function frame() {
    if (!state.running) return;
    advance(Math.ceil(known.recipe.steps / FRAMES));
    if (done()) state.running = false;
    if (!calm.matches || done()) draw();
    if (state.running) (calm.matches ? setTimeout : requestAnimationFrame)(frame);
    else say();
  }

  function say() {
    const { network, losses } = state;
    const engine = reference(network.setting);
    const loss = losses.at(-1)[1];
    const shown = network.dimensionality().filter((d) => d > 0.05).length;
    const beside = engine > 1e-9
      ? `${loss < 1.02 * engine ? "as good as" : `${round(loss / engine, 3)} times`} the engine's best of ${known.starts} starts (${round(engine)})`
      : `the engine's best is 0 (${network.setting.n <= network.setting.m ? "there is room for every feature" : "the inputs never change"})`;
    byId("said").textContent = `After ${network.taken} steps the loss is ${round(loss)}: ${beside}. ${shown} of ${network.setting.n} features have a direction.`;
  }

  // ------------------------------------------------------------------------------------------------------------ pictures

  function projected(column) { // of three dimensions the view turned about the vertical axis, seen a little from above
    const [x, y, z = 0] = column;
    if (column.length === 2) return [x, y, 0];
    const [turn, tilt] = [state.turn, 0.35];
    const [a, b] = [x * Math.cos(turn) - z * Math.sin(turn), x * Math.sin(turn) + z * Math.cos(turn)];
    return [a, y * Math.cos(tilt) - b * Math.sin(tilt), y * Math.sin(tilt) + b * Math.cos(tilt)];
  }

  function directions() {
    const { network } = state;
    const { n, m } = network.setting;
    const picture = svg("svg", { viewBox: "-1.45 -1.45 2.9 2.9", role: "img", "aria-label": `The directions of ${n} features in ${m} dimensions` });
    picture.append(svg("circle", { class: "unit", r: 1 }));
    if (m === 3) picture.append(svg("ellipse", { class: "unit", rx: 1, ry: Math.sin(0.35) }));
    const ends = Array.from({ length: n }, (_, i) => projected(Array.from({ length: m }, (__, a) => network.W[a * n + i])));
    const order = ends.map((_, i) => i).sort((i, j) => ends[i][2] - ends[j][2]);
    for (const i of order) {
      const [x, y] = ends[i].map((v) => Math.max(-1.38, Math.min(1.38, v)));
      const opacity = m === 3 ? 0.8 + 0.2 * Math.max(-1, Math.min(1, ends[i][2])) : 1;
      const norm = Math.hypot(x, y);
      const one = svg("g", { stroke: COLOURS[i], fill: COLOURS[i], opacity });
      one.append(svg("line", { x1: 0, y1: 0, x2: x, y2: -y }), svg("circle", { cx: x, cy: -y, r: 0.035 }));
      if (norm > 0.15) one.append(svg("text", { x: x * (1 + 0.13 / norm), y: -y * (1 + 0.13 / norm) + 0.045, "text-anchor": "middle" }, String(i + 1)));
      picture.append(one);
    }
    byId("directions").replaceChildren(picture);
  }

  function curve() {
    const [width, height, left, bottom, top] = [420, 240, 56, 28, 12];
    const engine = reference(state.network.setting);
    const values = state.losses.map(([, loss]) => loss);
    const floor = Math.max(1e-6, Math.min(...values, engine > 1e-9 ? engine : Infinity));
    const [low, high] = [Math.log10(floor) - 0.1, Math.max(Math.log10(Math.max(...values, floor)), Math.log10(floor) + 0.3) + 0.05];
    const x = (step) => left + (step / known.recipe.steps) * (width - left - 8);
    const y = (loss) => height - bottom - ((Math.log10(Math.max(loss, floor)) - low) / (high - low)) * (height - bottom - top);
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Loss over steps, logarithmic" });
    for (let power = Math.ceil(low); power <= high; power += 1) {
      for (const digit of high - low > 2 ? [1] : [1, 2, 5]) {
        const value = digit * 10 ** power;
        if (Math.log10(value) > high) continue;
        picture.append(svg("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value) }));
        picture.append(svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, String(+value.toPrecision(1))));
      }
    }
    for (const share of [0, 0.5, 1]) {
      const step = share * known.recipe.steps;
      picture.append(svg("text", { x: x(step), y: height - 8, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, share === 1 ? `${step} steps` : String(step)));
    }
    if (engine > 1e-9) picture.append(svg("line", { class: "engine", x1: left, x2: width - 8, y1: y(engine), y2: y(engine) }));
    picture.append(svg("polyline", { points: state.losses.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" ") }));
    byId("curve").replaceChildren(picture);
    byId("loss").textContent = round(values.at(-1));
    byId("best").textContent = engine > 1e-9 ? round(engine) : "0";
    byId("steps").textContent = state.network.taken;
  }

  function bars() {
    const values = state.network.dimensionality();
    const [width, row, left] = [420, 26, 26];
    const height = row * values.length + 24;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Feature dimensionalities: ${values.map((v) => v.toFixed(2)).join(", ")}` });
    const x = (v) => left + v * (width - left - 46);
    for (const [value, name] of [[0, "0"], [0.4, "2/5"], [0.5, "1/2"], [2 / 3, "2/3"], [1, "1"]]) {
      picture.append(svg("line", { x1: x(value), x2: x(value), y1: 0, y2: height - 22 }));
      picture.append(svg("text", { x: x(value), y: height - 5, "text-anchor": "middle" }, name));
    }
    values.forEach((value, i) => {
      picture.append(svg("text", { x: left - 8, y: i * row + 17, "text-anchor": "end" }, String(i + 1)));
      picture.append(svg("rect", { x: left, y: i * row + 3, width: Math.max(0, x(value) - left), height: row - 7, fill: COLOURS[i] }));
      picture.append(svg("text", { x: x(value) + 5, y: i * row + 17 }, value.toFixed(2)));
    });
    byId("bars").replaceChildren(picture);
  }

  function numbers() {
    const { W, b, setting: { n, m } } = state.network;
    const cells = (tag, values) => values.map((value) => {
      const cell = document.createElement(tag);
      if (tag === "th") cell.scope = "col";
      cell.textContent = typeof value === "number" ? round(value) : value;
      return cell;
    });
    const line = (tag, values) => {
      const made = document.createElement("tr");
      made.append(...cells(tag, values));
      return made;
    };
    const columns = Array.from({ length: m }, (_, a) => a);
    const norm = (i) => Math.hypot(...columns.map((a) => W[a * n + i]));
    byId("numbers").replaceChildren(
      line("th", ["feature", ...columns.map((a) => `W ${a + 1}`), "length", "bias"]),
      ...Array.from({ length: n }, (_, i) => line("td", [String(i + 1), ...columns.map((a) => W[a * n + i]), norm(i), b[i]])));
  }

  function draw() {
    directions();
    curve();
    bars();
    numbers();
    byId("train").textContent = state.running ? "Pause" : "Train";
    byId("train").disabled = byId("step").disabled = done();
  }

  // ---------------------------------------------------------------------------------------------------------------- code

  function code({ n, m, density, decay, low, high }) {
    const law = low === high ? `ss.Constant(${low})` : `ss.Uniform(${low}, ${high})`;
    const importance = decay === 1 ? "" : `, importance=[${Playground.importances({ n, decay }).map((v) => +v.toPrecision(6)).join(", ")}]`;
    const rows = Array.from({ length: m }, (_, a) => `    [${Array.from(state.start.subarray(a * n, (a + 1) * n), (v) => v.toPrecision(9)).join(", ")}],`);
    byId("code").textContent = [
      "import superscope as ss", "",
      `toy = ss.Bottleneck(n_features=${n}, n_hidden=${m})`,
      `inputs = ss.SparseFeatures(n=${n}, density=${density}, values=${law}${importance})`,
      `run = ss.Sweep(toy, inputs, seeds=${known.starts}).train()`,
      `print(float(run.loss.min()))  # the engine's best of ${known.starts} starts`, "",
      "start = [  # this page's", ...rows, "]",
      `here = ss.Sweep(toy, inputs, seeds=1, init={"W": start}).train(ss.Recipe(points=${2 ** (n + 3)}))`,
      "print(float(here.loss[0]), here.W[0].values)",
    ].join("\n");
  }

  byId("train").addEventListener("click", () => {
    state.running = !state.running;
    byId("train").textContent = state.running ? "Pause" : "Train";
    if (state.running) frame();
    else draw();
  });
  byId("step").addEventListener("click", () => {
    state.running = false;
    advance(10);
    draw();
    if (done()) say();
  });
  byId("reset").addEventListener("click", reset);
  byId("another").addEventListener("click", () => {
    byId("seed").value = (chosen().seed + 1) % 1e6;
    reset();
    byId("train").click();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["n", "m", "density", "decay", "values", "seed"]) byId(id).addEventListener("input", reset);
  byId("turn").addEventListener("input", (event) => { state.turn = (+event.target.value * Math.PI) / 180; directions(); });
  byId("copy").addEventListener("click", async () => {
    const text = byId("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      byId("copied").textContent = "copied";
    } catch {
      getSelection().selectAllChildren(byId("code"));
      byId("copied").textContent = "selected: press Ctrl+C";
    }
  });
  window.playgroundState = state;
  reset();
  byId("live").hidden = false;
})();
