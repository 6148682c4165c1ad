"""The sweep at the front door: a grid that can be trained."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from superscope.errors import SettingError, choice
from superscope.store import digest
from superscope.sweep import execute
from superscope.sweep import search as globally
from superscope.sweep.archive import store_folder, stored, wanted_spec
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.run import SweepRun, diverged

MORE = "more"  # the subfolder of a store that holds the seeds it has grown by


@dataclass(frozen=True, eq=False)
class Sweep(Grid):
    """A grid of toys trained at once.

    toy: TwoLayer (Bottleneck, AbsoluteValue, ...) or ModuleToy.
    inputs: SparseFeatures.
    over: {field of the toy, of the inputs or of the recipe: values}; one axis each, in this order.
    seeds: how many seeds, or the seed numbers themselves. Seeds are the unit of replication.
    restarts: extra initialisations per seed; all minima are kept, `run.best("restart")` picks.
    paired: seed s starts from the same weights at every grid point of the same shape, so that comparisons along an axis
        are paired by seed; False draws them independently.
    init: {parameter: starting values} instead of drawn ones: training started at a yardstick, to tell "training does not reach
        it" from "it does not pay". An array of the parameter's shape, one of the grid's shape and the parameter's, or a
        DataArray over some of the axes (so ``init={"W": other_run.W}`` goes on from another sweep).
    """

    def train(
        self,
        recipe: Recipe | None = None,
        engine: str = "auto",
        executor: str = "local",
        workers: int | None = None,
        store: str | Path | None = None,
        progress: bool = False,
        device: str = "cpu",
        search: str = "starts",
    ) -> SweepRun:
        """Train every network of the grid.

        engine: "fused" (native kernel), "torch", or "auto": fused where it applies and pays, else torch; `run.engine` tells.
        executor: "local" (threads) or "ray" (the `cluster` extra).
        workers: how many units at once; default one per core (one for the torch engine in threads, see executor="ray").
        store: folder of a Zarr store. Finished units are kept there and never trained twice, also after kill -9; a second
            process on the same store waits for the first. A store grows: with more seeds only the new ones are trained (they
            are kept in its subfolder "more"); with other steps the longer training is kept beside the stored one, which
            stays (in "steps=N"), and so with edited functions (in "code=DIGEST").
        progress: show a bar with ETA.
        device: "cpu" or "cuda" (torch engine only).
        search: "starts" trains from the sweep's own starts. "global" looks for the lowest minimum: several rounds of starts of
            other sizes, from theory, and hops from the best; the run holds the best network of every grid point and seed.
        """
        recipe = Recipe.fast() if recipe is None else recipe
        place = None if store is None else store_folder(store)
        options = {"engine": engine, "executor": executor, "workers": workers, "progress": progress, "device": device}
        execute.check_options(recipe, **options)
        choice("search", search, globally.SEARCHES)
        if search == "global":
            return globally.search(self, recipe, place, options)
        if self.recipe_axes:
            return self._over_recipes(recipe, place, options)
        return self._train(recipe, place, options)

    def _train(self, recipe: Recipe, store: Path | None, options: dict[str, Any]) -> SweepRun:
        """Train, or take up what a store of this sweep with other seeds or steps has."""
        found = stored(store) if store is not None else None
        if found is None:
            return execute.train(self, recipe, store=store, **options)
        assert store is not None
        wanted = wanted_spec(self, recipe, "")
        if {**found["recipe"], "steps": recipe.steps} == wanted["recipe"] != found["recipe"]:
            return self._train(recipe, store / f"steps={recipe.steps}", options)
        if {**found["spec"], "code": wanted["spec"].get("code")} == wanted["spec"] != found["spec"] and "code" in wanted[
            "spec"
        ]:
            run = self._train(recipe, store / f"code={digest(wanted['spec']['code'])[:10]}", options)
            run.notes.append("the code of the sweep's functions is not what it was: trained anew, the old results are kept")
            return run
        have, want = found["spec"]["seeds"], self.axes["seed"]
        shared = set(have) & set(want)
        there = self._with_seeds(have) if shared else replace(self, seeds=have, init=None) if store.name == MORE else None
        if have == want or found["recipe"] != wanted["recipe"] or there is None or there.describe() != found["spec"]:
            return execute.train(self, recipe, store=store, **options)  # which says what differs, if anything does
        options |= {"engine": found["engine"]}
        parts = [execute.train(there, recipe, store=store, **options)] if shared else []
        rest = self._with_seeds([seed for seed in want if seed not in have])
        if rest is not None:
            parts.append(rest._train(recipe, store / MORE, options))
        return self._joined(recipe, parts)

    def _with_seeds(self, seeds: list[int]) -> Sweep | None:
        """This sweep with other seeds; None for none, and where its starting values do not say how those start."""
        if not seeds:
            return None
        if not self.init:
            return replace(self, seeds=seeds)
        if not set(seeds) <= set(self.axes["seed"]):
            return None
        at = tuple([values.index(s) for s in seeds] if axis == "seed" else slice(None) for axis, values in self.axes.items())
        return replace(self, seeds=seeds, init={name: np.ascontiguousarray(start[at]) for name, start in self.init.items()})

    def _joined(self, recipe: Recipe, parts: list[SweepRun]) -> SweepRun:
        """Runs of the same sweep on other seeds as one, in the order of this sweep's seeds."""
        import xarray as xr

        data = xr.concat([part.data for part in parts], "seed", data_vars="minimal", coords="minimal", compat="override")
        data = data.sel(seed=self.axes["seed"]).transpose(*self.axes, ...)
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        return SweepRun(self, recipe, data, parts[0].engine, list(notes), diverged(data, self.axes))

    def _over_recipes(self, recipe: Recipe, store: Path | None, options: dict[str, Any]) -> SweepRun:
        """One sweep for every combination of the recipe's axes, joined along them."""
        import xarray as xr

        assert self.over is not None
        if recipe.history and "steps" in self.recipe_axes:
            raise SettingError("snapshots (history) of trainings with different steps do not fit together: sweep them apart")
        rest = {name: values for name, values in self.over.items() if name not in self.recipe_axes}
        parts, failed = [], []
        notes: dict[str, None] = {}
        engine = ""
        for values in itertools.product(*(list(self.over[name]) for name in self.recipe_axes)):
            changes = dict(zip(self.recipe_axes, values, strict=True))
            label = ",".join(f"{name}={value}" for name, value in changes.items())
            place = store.with_suffix("") / f"{label}.zarr" if store else None
            at = tuple(self.axes[name].index(changes[name]) if name in changes else slice(None) for name in self.axes)
            init = {name: start[at] for name, start in (self.init or {}).items()} or None
            run = replace(self, over=rest, init=init).train(recipe.replace(**changes), store=place, **options)
            parts.append(run.data.expand_dims({name: [value] for name, value in changes.items()}))
            notes |= dict.fromkeys(run.notes)
            failed += [f"{label}, {where}" for where in run.failed]
            engine = run.engine
        data = xr.merge([xr.combine_by_coords(parts, combine_attrs="drop")])
        data = data.reindex({name: list(self.over[name]) for name in self.recipe_axes})
        data = data.transpose(*self.axes, ...)
        return SweepRun(self, recipe, data, engine, list(notes), failed)
