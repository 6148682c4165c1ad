"""The sweep at the front door: a grid that can be trained."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from superscope.sweep import execute
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.run import SweepRun


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
    ) -> SweepRun:
        """Train every network of the grid.

        engine: "fused" (native kernel), "torch", or "auto": fused where it applies and pays, else torch; `run.engine` tells.
        executor: "local" (threads) or "ray" (the `cluster` extra).
        workers: how many units at once; default one per core (one for the torch engine in threads, see executor="ray").
        store: folder of a Zarr store. Finished units are kept there and never trained twice, also after kill -9.
        progress: show a bar with ETA.
        device: "cpu" or "cuda" (torch engine only).
        """
        recipe = recipe or Recipe.fast()
        if not self.recipe_axes:
            return execute.train(self, recipe, engine, executor, workers, store, progress, device)
        return self._over_recipes(recipe, store, {"engine": engine, "executor": executor, "workers": workers,
                                                  "progress": progress, "device": device})  # fmt: skip

    def _over_recipes(self, recipe: Recipe, store: str | Path | None, options: dict[str, Any]) -> SweepRun:
        """One sweep for every combination of the recipe's axes, joined along them."""
        import xarray as xr

        assert self.over is not None
        if recipe.history and "steps" in self.recipe_axes:
            raise ValueError("snapshots (history) of trainings with different steps do not fit together: sweep them apart")
        rest = {name: values for name, values in self.over.items() if name not in self.recipe_axes}
        parts, failed = [], []
        notes: dict[str, None] = {}
        engine = ""
        for values in itertools.product(*(list(self.over[name]) for name in self.recipe_axes)):
            changes = dict(zip(self.recipe_axes, values, strict=True))
            label = ",".join(f"{name}={value}" for name, value in changes.items())
            place = Path(store).with_suffix("") / f"{label}.zarr" if store else None
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
