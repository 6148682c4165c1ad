"""The sweep at the front door: a grid that can be trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from superscope.sweep import execute
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.run import SweepRun


@dataclass(frozen=True, eq=False)
class Sweep(Grid):
    """A grid of toys trained at once.

    toy: TwoLayer (Bottleneck, AbsoluteValue, ...) or ModuleToy.
    inputs: SparseFeatures.
    over: {field of the toy or of the inputs: values}; one axis each, in this order.
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
        return execute.train(self, recipe or Recipe.fast(), engine, executor, workers, store, progress, device)
