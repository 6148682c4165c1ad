"""Looking for the lowest minimum of a hard landscape: starts of several sizes, starts from theory, then hops from the best.

Some landscapes hide their best minimum from random starts: of 64 starts with seven features in two dimensions, at most one
on, few or none reach the heptagon. Each round trains `STARTS` networks per seed from other starts and keeps the best;
networks of one seed never see those of another, so seeds stay replicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from superscope.errors import SettingError
from superscope.toys import TwoLayer

if TYPE_CHECKING:
    import xarray as xr

    from superscope.sweep.recipe import Recipe
    from superscope.sweep.run import SweepRun

SEARCHES = ("starts", "global")
STARTS = 24  # networks a seed and round
HOPS = 2  # rounds of basin hopping (Wales & Doye 1997, J. Phys. Chem. A 101, 5111)
SIZES = (0.3, 3.0)  # initial weights of the first rounds beside the toy's own, in units of Xavier's: basins differ
LENGTHS = (0.9, 1.5)  # norms that starts from theory are drawn between
Start = dict[str, np.ndarray]


def search(sweep: Any, recipe: Recipe, store: Path | None, options: dict[str, Any]) -> SweepRun:
    """The best network of every grid point and seed of a `Sweep`, as a run of it with one restart.

    Rounds: starts as the toy draws them, smaller and larger ones, codes from theory (for tied bottlenecks), then `HOPS` rounds
    from the best so far with two features exchanged, one moved anew, or noise on all. Raises SettingError for sweeps over a
    shape, whose networks cannot be started from one another, and for sweeps with starting values of their own.
    """
    if sweep.init is not None:
        raise SettingError("search='global' draws its own starts: leave init out")
    toy, shapes = sweep.toy, _shapes(sweep)
    count = max(sweep.restarts, STARTS)
    wide = replace(sweep, restarts=count)
    kept: xr.Dataset | None = None
    run = None
    for name, start in _rounds(sweep, toy, shapes, wide):
        init = start(kept) if start is not None else None
        place = store / name if store is not None else None
        if name.startswith("size"):
            one = replace(wide, toy=toy.replace(init_scale=toy.init_scale * float(name.removeprefix("size="))))
        else:
            one = replace(wide, init=init)
        run = one.train(recipe, store=place, **options)
        kept = _better(kept, run.best("restart").data)
    assert run is not None
    assert kept is not None
    single = replace(sweep, restarts=1)
    from superscope.sweep.run import SweepRun, diverged

    kept = kept.transpose(*single.axes, ...)
    return SweepRun(single, recipe, kept, run.engine, [*run.notes, f"search='global': the best of {count} starts a round"],
                    diverged(kept, single.axes))  # fmt: skip


def _shapes(sweep: Any) -> dict[str, tuple[int, ...]]:
    from superscope.sweep.grid import parameter_shapes

    shapes = [parameter_shapes(one.condition.toy) for one in sweep.instances()]
    if any(one != shapes[0] for one in shapes):
        raise SettingError("search='global' needs networks of one shape: sweep n_features, n_hidden and the like one at a time")
    return shapes[0]


def _rounds(sweep: Any, toy: Any, shapes: dict[str, tuple[int, ...]], wide: Any) -> Iterator[tuple[str, Any]]:
    """(name, maker of starting values from the best so far, or None) of every round."""
    yield "drawn", None
    if isinstance(toy, TwoLayer):
        for size in SIZES:
            yield f"size={size}", None
    if set(shapes) <= {"W", "b_out"} and "W" in shapes:
        yield "theory", lambda kept: _codes(wide, shapes)
    for hop in range(HOPS):
        yield f"hop={hop}", lambda kept, hop=hop: _hops(hop, wide, shapes, kept)


def _better(kept: xr.Dataset | None, new: xr.Dataset) -> xr.Dataset:
    import xarray as xr

    if kept is None:
        return new
    shared = [name for name in kept.data_vars if name in new.data_vars]
    won = (new["loss"] < kept["loss"]) | (~np.isfinite(kept["loss"]) & np.isfinite(new["loss"]))
    return xr.where(won, new[shared], kept[shared], keep_attrs=True)


def _generator(wide: Any, where: tuple[int, ...], purpose: int) -> np.random.Generator:
    """Random numbers of one network: of its seed's number, so that other seeds are other draws, its place and the purpose."""
    seed = list(wide.axes).index("seed")
    rest = [place for axis, place in enumerate(where) if axis != seed]
    return np.random.default_rng([wide.axes["seed"][where[seed]], purpose, *rest])


def _codes(wide: Any, shapes: dict[str, tuple[int, ...]]) -> Start:
    """Spread-out codes of k of the n features, in random order and turned at random, the others left out.

    k runs over 2m to n. In two dimensions regular polygons (Elhage et al. 2022), in more, points on a sphere that repel each
    other (which gives antipodal pairs at k = 2m).
    """
    (m, n), grid = shapes["W"], wide.shape
    W = np.zeros((*grid, m, n))
    bias = np.zeros((*grid, n))
    sizes = list(range(n, max(min(2 * m, n), m) - 1, -1)) or [n]
    for where in np.ndindex(*grid):
        rng = _generator(wide, where, 1)
        k = sizes[where[-1] % len(sizes)]
        code = polygon(k) if m == 2 else spread(rng, k, m)
        turn = np.linalg.qr(rng.standard_normal((m, m)))[0]
        length = rng.uniform(*LENGTHS)
        W[(*where, slice(None), rng.permutation(n)[:k])] = length * (turn @ code).T
        bias[where] = -rng.uniform(0, 0.8) * length**2 * (k > 2 * m)
    return {"W": W} | ({"b_out": bias} if "b_out" in shapes else {})


def polygon(k: int) -> np.ndarray:
    """(2, k) the corners of a regular polygon."""
    angle = 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angle), np.sin(angle)])


def spread(rng: np.random.Generator, k: int, m: int, steps: int = 300) -> np.ndarray:
    """(m, k) unit vectors that repelled each other for `steps` steps, ever more by their nearest: near a code of least
    coherence (Tammes' problem)."""
    points = rng.standard_normal((m, k))
    points /= np.linalg.norm(points, axis=0)
    for sharp in np.geomspace(2, 60, steps):
        gram = points.T @ points
        np.fill_diagonal(gram, -np.inf)
        push = np.exp(sharp * (gram - gram.max()))
        points = points - 0.5 / sharp * (points @ push) / push.sum(0).max()
        points /= np.maximum(np.linalg.norm(points, axis=0), 1e-12)
    return points


def _hops(hop: int, wide: Any, shapes: dict[str, tuple[int, ...]], kept: xr.Dataset) -> Start:
    """The best so far, moved: a third each with two features exchanged, one drawn anew, noise on everything."""
    grid, axes = wide.shape, [name for name in wide.axes if name != "restart"]
    start = {
        name: np.repeat(np.nan_to_num(kept[name].transpose(*axes, ...).values)[(*[slice(None)] * len(axes), None)], grid[-1],
                        axis=len(axes)).astype(float)
        for name in shapes
    }  # fmt: skip
    for where in np.ndindex(*grid):
        rng, kind = _generator(wide, where, 2 + hop), where[-1] % 3
        for value in start.values() if kind == 0 else ():
            size = float(np.abs(value[where]).mean()) or 0.1
            value[where] += 0.25 * size * rng.standard_normal(value[where].shape)
        if kind and "W" in start:
            W = start["W"][where]
            one, other = rng.choice(W.shape[1], 2, replace=False) if W.shape[1] > 1 else (0, 0)
            if kind == 1:
                W[:, [one, other]] = W[:, [other, one]]
            else:
                W[:, one] = rng.standard_normal(W.shape[0]) * np.linalg.norm(W, axis=0).max() / np.sqrt(W.shape[0])
            W += 0.02 * np.abs(W).mean() * rng.standard_normal(W.shape)
    return start
