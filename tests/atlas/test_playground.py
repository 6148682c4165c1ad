"""The playground: its numbers are those of ss.Sweep, its table is the engine's, and a reader can use it."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

import superscope as ss
from superscope.atlas import playground
from superscope.inputs.strata import StratifiedPlan
from superscope.sweep.points import evaluation_points, stream


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from importlib import resources

    folder = tmp_path_factory.mktemp("playground")
    static = resources.files("superscope.atlas").joinpath("static")
    own = {f"assets/{name}": static.joinpath(name).read_bytes() for name in ("atlas.css", "atlas.js")}
    for name, data in {**playground.files(), **own}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def page(browser, site):
    assert browser.visit((site / "playground.html").as_uri()) == []
    return browser


def start_of(n, m, seed=0):
    return (0.4 * np.random.default_rng(seed).standard_normal((m, n))).astype(np.float32)


def setting(n, m, density, decay, values):
    low, high = playground.VALUES[values]
    return {"n": n, "m": m, "density": density, "decay": decay, "low": low, "high": high}


def recipe_of(steps):
    return f"{{ ...playgroundData.recipe, steps: {steps} }}"


# ------------------------------------------------------------------------------------------------- against the engine


CONSTANT = [(5, 2, 0.3, 1.0), (4, 2, 0.5, 0.8), (6, 3, 0.2, 1.0), (3, 2, 1.0, 0.5)]


@pytest.mark.parametrize(("steps", "close"), [(30, 2e-6), (300, 2e-4)])
@pytest.mark.parametrize(("n", "m", "density", "decay"), CONSTANT)
def test_constant_values_give_the_weights_of_a_sweep(page, n, m, density, decay, steps, close):
    """With constant values and enough points the engine, too, visits every subset: no sampling is left, only rounding.

    On the way, where every setting of the optimiser shows, and at the end.
    """
    start = start_of(n, m)
    inputs = playground.inputs(n, density, decay, "one")
    sweep = ss.Sweep(ss.Bottleneck(n_features=n, n_hidden=m), inputs, seeds=1, init={"W": start})
    recipe = ss.Recipe(points=4096, steps=steps)
    assert all(one.each for one in StratifiedPlan(inputs, 4096).strata)
    run = sweep.train(recipe, engine="torch")
    found = page.ask(f"""(() => {{
        const setting = {json.dumps(setting(n, m, density, decay, "one"))};
        const network = new Playground.Network(setting, {start.ravel().tolist()}, {recipe_of(steps)});
        const points = Playground.draw(Playground.strata(setting, 1), setting, null);
        for (let k = 0; k < {steps}; k += 1) network.step(points);
        return [Array.from(network.W), Array.from(network.b), network.loss(points), points.weight.length];
    }})()""")
    np.testing.assert_allclose(np.reshape(found[0], (m, n)), run.W[0].values, atol=close)
    np.testing.assert_allclose(found[1], run.data["b_out"][0].values, atol=close)
    W, b = run.W[0].values.astype(float), run.data["b_out"][0].values.astype(float)
    x = np.array(list(itertools.product([0, 1], repeat=n)))
    y = np.maximum(x @ W.T @ W + b, 0)
    mass = np.where(x > 0, density, 1 - density).prod(axis=1)
    assert found[2] == pytest.approx(float(mass @ ((y - x) ** 2 @ inputs.importances)), rel=1e-5)
    assert found[2] == pytest.approx(float(run.loss[0]), rel=3e-5, abs=1e-6)  # the engine's loss is a sum in float32
    assert found[3] == 2**n if density < 1 else 1


@pytest.mark.parametrize(("values", "decay"), [("uniform", 1.0), ("high", 0.8)])
def test_the_engines_points_give_the_weights_of_a_sweep(page, values, decay):
    """Random values: the points that the sweep drew are handed to the page."""
    n, m, steps, density = 5, 2, 40, 0.1
    start = start_of(n, m, 1)
    inputs = playground.inputs(n, density, decay, values)
    sweep = ss.Sweep(ss.Bottleneck(n_features=n, n_hidden=m), inputs, seeds=1, init={"W": start})
    recipe = ss.Recipe(steps=steps)
    run = sweep.train(recipe, engine="torch")
    blocks = list(stream(list(sweep.instances()), recipe))
    x, weight = np.concatenate([block.x for block in blocks]), blocks[0].weight
    held, mass = evaluation_points(inputs)
    found = page.ask(f"""(() => {{
        const setting = {json.dumps(setting(n, m, density, decay, values))};
        const network = new Playground.Network(setting, {start.ravel().tolist()}, {recipe_of(steps)});
        const weight = Float64Array.from({weight.tolist()});
        for (const x of {json.dumps([np.round(one, 8).ravel().tolist() for one in x])}) network.step({{ x, weight }});
        const held = {{ x: {json.dumps(np.round(held[0], 8).ravel().tolist())}, weight: {(mass).tolist()} }};
        return [Array.from(network.W), network.loss(held)];
    }})()""")
    np.testing.assert_allclose(np.reshape(found[0], (m, n)), run.W[0].values, atol=5e-6)
    assert found[1] == pytest.approx(float(run.loss[0]), rel=0.02)  # one of the engine's eight evaluation sets
    params = {"W": run.W[0].values, "b": run.data["b_out"][0].values}
    y = np.maximum(held[0] @ params["W"].T @ params["W"] + params["b"], 0)
    assert found[1] == pytest.approx(float(mass @ ((held[0] - y) ** 2 @ inputs.importances)), rel=1e-5)


@pytest.mark.parametrize("values", ["uniform", "high", "one"])
def test_points_have_the_law_of_the_inputs(page, values):
    """Mean, density and second moments of what the page draws are those of the inputs."""
    n, density = 4, 0.2
    one = setting(n, 2, density, 1.0, values)
    x, weight = page.ask(f"""(() => {{
        const setting = {json.dumps(one)};
        const {{ x, weight }} = Playground.draw(Playground.strata(setting, 20000), setting, Playground.generator(5));
        return [Array.from(x), Array.from(weight)];
    }})()""")
    x, weight = np.reshape(x, (-1, n)), np.array(weight)
    law = playground.inputs(n, density, 1.0, values).values
    assert weight.sum() == pytest.approx(1)
    np.testing.assert_allclose(weight @ (x > 0), density, rtol=1e-9)
    np.testing.assert_allclose(weight @ x, density * law.moment(1), rtol=2e-3)
    second = np.full((n, n), (density * law.moment(1)) ** 2)
    np.fill_diagonal(second, density * law.moment(2))
    np.testing.assert_allclose((x * weight[:, None]).T @ x, second, rtol=2e-2)


@pytest.mark.parametrize(("n", "m", "density", "values"), [(4, 2, 0.02, "uniform"), (6, 3, 0.3, "high")])
def test_the_loss_shown_is_the_engines(page, n, m, density, values):
    """The same weights, each on evaluation points of its own: within what either's points leave open."""
    W = start_of(n, m, 2)
    inputs = playground.inputs(n, density, 1.0, values)
    sweep = ss.Sweep(ss.Bottleneck(n_features=n, n_hidden=m), inputs, seeds=1, init={"W": W})
    run = sweep.train(ss.Recipe(steps=0))
    found = page.ask(f"""(() => {{
        const setting = {json.dumps(setting(n, m, density, 1.0, values))};
        const points = Playground.draw(Playground.strata(setting, 16384, 128), setting, Playground.generator(0));
        return new Playground.Network(setting, {W.ravel().tolist()}, {{}}).loss(points);
    }})()""")
    assert found == pytest.approx(float(run.loss[0]), rel=0.01)


def test_dimensionality_is_the_measure(page):
    W = start_of(6, 3, 4)
    found = page.ask(
        f"new Playground.Network({json.dumps(setting(6, 3, 0.1, 1, 'one'))}, {W.ravel().tolist()}, {{}}).dimensionality()"
    )
    np.testing.assert_allclose(found, ss.measure.dimensionality(W), rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------- the table


def test_the_table_has_every_setting():
    table = playground.table()
    assert table["densities"] == list(playground.DENSITIES)
    assert [{k: row[k] for k in ("n", "m", "decay", "values")} for row in table["rows"]] == playground.settings()
    assert table["made"]["starts"] == playground.STARTS
    losses = np.array([row["loss"] for row in table["rows"]])
    assert (losses > -1e-12).all()
    assert losses[:, playground.DENSITIES.index(0.1)].min() > 1e-4


@pytest.mark.parametrize(("n", "m", "decay", "values", "density"), [(5, 2, 1.0, "uniform", 0.1), (4, 3, 0.8, "one", 0.5)])
def test_the_table_is_what_the_engine_finds(n, m, decay, values, density):
    row = next(r for r in playground.table()["rows"] if (r["n"], r["m"], r["decay"], r["values"]) == (n, m, decay, values))
    (again,) = playground.best(n, m, decay, values, densities=[density])
    assert again == pytest.approx(row["loss"][playground.DENSITIES.index(density)], rel=2e-3)


# -------------------------------------------------------------------------------------------------------- for a reader


def set_to(browser, **values):
    for name, value in values.items():
        put = f"e.value = {json.dumps(str(value))}; e.dispatchEvent(new Event('input'))"
        browser.ask(f"(e => {{ {put} }})(document.getElementById('{name}'))")


def train(browser):
    browser.ask("document.getElementById('train').click()")
    done = "document.getElementById('said').textContent.startsWith('After 2000 steps')"
    assert browser.ask(
        f"new Promise((end) => {{ const wait = (n) => ({done} || !n ? end({done}) : setTimeout(wait, 20, n - 1)); wait(700) }})"
    )


def test_training_finds_the_pentagon(page):
    set_to(page, n=5, density=playground.DENSITIES.index(0.05), seed=0)
    losses = []
    for seed in range(2):
        set_to(page, seed=seed)
        train(page)
        losses.append(float(page.ask("document.getElementById('loss').textContent")))
    best = float(page.ask("document.getElementById('best').textContent"))
    assert min(losses) == pytest.approx(best, rel=0.02)
    good = int(np.argmin(losses))
    set_to(page, seed=good)
    train(page)
    bars = page.ask("document.querySelector('#bars svg').getAttribute('aria-label')")
    np.testing.assert_allclose([float(v) for v in bars.split(": ")[1].split(", ")], 0.4, atol=0.02)
    assert "as good as the engine's best" in page.ask("document.getElementById('said').textContent")
    assert page.ask("document.getElementById('train').disabled")
    page.ask("document.getElementById('another').click()")
    assert page.ask("document.getElementById('seed').value") == str(good + 1)
    assert page.ask("document.getElementById('train').textContent") == "Pause"
    page.ask("document.getElementById('reset').click()")
    assert page.ask("document.getElementById('steps').textContent") == "0"


def test_the_code_gives_the_same(page):
    """What the page offers to copy runs, from the page's own start."""
    set_to(page, n=4, m=2, density=playground.DENSITIES.index(0.3), decay=0.8, values="one", seed=3)
    train(page)
    code = page.ask("document.getElementById('code').textContent").replace(f"seeds={playground.STARTS}", "seeds=2")
    names: dict[str, object] = {}
    exec(code, names)
    loss = page.ask("playgroundState.losses.at(-1)[1]")
    assert float(names["here"].loss[0]) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(names["here"].W[0].values.ravel(), page.ask("Array.from(playgroundState.network.W)"), atol=1e-3)


def test_every_setting_can_be_drawn(page):
    for n in (2, 8):
        for m in playground.HIDDEN:
            for density in (0, len(playground.DENSITIES) - 1):
                set_to(page, n=n, m=m, density=density, values="high", decay=0.5)
                page.ask("document.getElementById('step').click()")
                assert page.ask("document.getElementById('steps').textContent") == "10"
                assert math.isfinite(float(page.ask("document.getElementById('loss').textContent").replace("−", "-")))
                assert page.ask("document.querySelectorAll('#directions g').length") == n
                assert "NaN" not in page.ask("document.getElementById('live').innerHTML")
                assert page.ask("document.getElementById('turning').hidden") == (m != 3)


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_on_any_screen(browser, site, width, scheme):
    assert browser.visit((site / "playground.html").as_uri(), width=width, scheme=scheme) == []
    set_to(browser, n=8, m=3)
    browser.ask("document.getElementById('step').click()")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("[...document.querySelectorAll('input, select')].every((one) => one.labels.length === 1)")
    assert browser.ask("[...document.querySelectorAll('svg')].every((one) => one.getAttribute('aria-label'))")


def test_those_who_want_no_motion_get_the_end(browser, site):
    browser.visit((site / "playground.html").as_uri())
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    browser.ask("""(() => {
        window.pictures = 0;
        const watch = new MutationObserver(() => { window.pictures += 1; });
        watch.observe(document.getElementById('directions'), { childList: true });
    })()""")
    train(browser)
    assert browser.ask("window.pictures") <= 2


def test_keys_are_enough(page):
    page.ask("document.getElementById('n').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert page.ask("document.getElementById('n-shown').textContent") == "6"
    page.ask("document.getElementById('train').focus()")
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32, text=" ")
    assert page.ask("document.getElementById('train').textContent") == "Pause"


def test_without_scripts_it_says_what_it_is(site):
    html = (site / "playground.html").read_text()
    assert "needs JavaScript" in html
    assert '<div id="live" class="wide" hidden>' in html
    assert "http" not in html
    assert all(len(data) < 40_000 for data in playground.files().values())
