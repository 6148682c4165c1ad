"""What training gives back: labelled arrays of every network of the sweep."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from superscope.errors import KindError, SettingError
from superscope.inputs.features import describe
from superscope.sweep.archive import dimensions
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.toys import TwoLayer

if TYPE_CHECKING:
    import torch

_ARRAYS = ("W", "W_out", "b_hidden", "b_out", "loss", "loss_se", "loss_per_feature")


class SweepRun:
    """Results of a sweep.

    data: xarray Dataset; every array has the sweep's axes, then "seed" (and "restart"), then its own dims. Networks smaller
        than the largest of the sweep are padded with NaN.
    W (..., hidden, feature): column i is the direction of feature i. W_out (..., feature or output, hidden), None if tied.
    b_hidden, b_out: biases, None if the toy has none. Parameters of a ModuleToy are in `data` under their own names.
    loss (...): expected loss E_x sum_i I_i (x_i - y_i)^2 on a fixed stratified set, with standard error loss_se (...);
    loss_per_feature (..., feature): its parts, without importance.
    history: Dataset over "step" when the recipe asked for it.
    engine: what trained it. notes: what a reader of the results should know. failed: networks whose loss is not finite.
    """

    def __init__(self, sweep: Grid, recipe: Recipe, data: xr.Dataset, engine: str, notes: list[str], failed: list[str]):
        self.sweep, self.recipe, self.data, self.engine, self.notes, self.failed = (
            sweep,
            recipe,
            data,
            engine,
            notes,
            failed,
        )

    def __getattr__(self, name: str) -> Any:
        data = self.__dict__.get("data")
        if data is None:  # half made, as while it is copied or unpickled
            raise AttributeError(name)
        if name in _ARRAYS:
            return data.get(name)
        if name in data.coords:
            return data[name]
        raise AttributeError(
            f"SweepRun has no {name!r}; it has {', '.join(map(str, data.data_vars))} and .data, .best(), .forward()"
        )

    def __fingerprint__(self) -> tuple[str, str, list[str]]:
        return self.sweep.digest(self.recipe), self.engine, list(map(str, self.data.sizes.items()))

    def __repr__(self) -> str:
        grid = ", ".join(f"{k}: {v}" for k, v in zip(self.sweep.axes, self.sweep.shape, strict=True))
        return f"<SweepRun ({grid}) engine={self.engine} arrays={list(self.data.data_vars)}>"

    @property
    def history(self) -> xr.Dataset:
        """Snapshots over "step": loss and the parameters."""
        names = {str(k): str(k).removeprefix("history_") for k in self.data.data_vars if str(k).startswith("history_")}
        if not names:
            raise LookupError("this run kept no history: train with Recipe(history=20)")
        return self.data[list(names)].rename(names)

    def best(self, dim: str = "seed") -> SweepRun:
        """The lowest-loss network along a dimension ("seed" or "restart"; or any axis) at every other grid point."""
        if dim not in self.loss.dims:
            raise SettingError(f"best({dim!r}): the loss has dims {', '.join(map(str, self.loss.dims))}")
        losses = self.loss.load()
        place = losses.fillna(np.inf).argmin(dim)
        chosen = self.data.isel({dim: place})
        return SweepRun(self.sweep, self.recipe, chosen, self.engine, self.notes, self.failed)

    def sel(self, **labels: Any) -> SweepRun:
        """A part of the run by coordinate labels, or by the values of an axis as they were given to the sweep (a vector, a
        target). One number stands for the nearest label of an axis of fractions, and must lie within that axis.
        """
        found = {name: self._label(name, value) for name, value in labels.items()}
        return SweepRun(self.sweep, self.recipe, self.data.sel(found), self.engine, self.notes, self.failed)

    def _label(self, name: str, value: Any) -> Any:
        """The label (or labels, or slice) along dimension `name` that `value` means."""
        if name not in self.data.dims:
            near = difflib.get_close_matches(name, list(map(str, self.data.dims)), n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SettingError(f"sel({name}=...): {hint}the run has the axes {', '.join(map(str, self.data.dims))}")
        labels = self.data[name].values if name in self.data.coords else np.arange(self.data.sizes[name])
        value = value.tolist() if hasattr(value, "tolist") else value
        given = list((self.sweep.over or {}).get(name, ()))
        named = [
            label for label, one in zip(self.sweep.axes.get(name, ()), given, strict=False) if describe(one) == describe(value)
        ]
        if named and named[0] in labels:
            return named[0]
        if isinstance(value, slice):
            return value
        if isinstance(value, (list, tuple)):
            return [self._label(name, one) for one in value]
        if value in labels.tolist():
            return value
        if labels.dtype.kind == "f" and isinstance(value, (int, float)) and not isinstance(value, bool):
            room = 0.01 * max(np.ptp(labels), abs(value))
            if labels.min() - room <= value <= labels.max() + room:
                return labels[np.abs(labels - value).argmin()]
        shown = ", ".join(map(str, labels[:8])) + (", ..." if len(labels) > 8 else "")
        raise SettingError(f"sel({name}={value!r}): the axis {name!r} has {shown}")

    def forward(self, x: torch.Tensor, **labels: Any) -> torch.Tensor:
        """Outputs (..., P, outputs) of the networks at `labels` for inputs x (P, n), without dropout.

        Networks that share one TwoLayer spec are run together; a sweep over fields of the toy needs them fixed by label.
        """
        import torch

        x = torch.as_tensor(x, dtype=torch.float32)
        part = self.sel(**labels) if labels else self
        toy = self._toy(labels)
        if not x.ndim or x.shape[-1] != toy.n_features:
            raise SettingError(
                f"forward: x has shape {tuple(x.shape)}, its last dimension must be the {toy.n_features} features"
            )
        params: Mapping[str, torch.Tensor] = {k: torch.tensor(part.data[k].values) for k in toy.shapes()}
        for name, shape in toy.shapes().items():
            params[name] = params[name][(..., *(slice(0, k) for k in shape))]  # type: ignore[index]
        return toy.forward(params, x)

    def _toy(self, labels: Mapping[str, Any]) -> TwoLayer:
        axes = self.sweep.axes
        position = dict.fromkeys(self.sweep.over or {}, 0)
        for name in position:
            if name in labels:
                position[name] = _index(axes[name], labels[name])
            elif name in self.sweep.toy_fields and len(axes[name]) > 1 and name in self.loss.dims:
                raise SettingError(
                    f"forward: the networks differ in {name!r}; choose one, for instance forward(x, {name}={axes[name][0]!r})"
                )
            elif name in self.data.coords and self.data.coords[name].ndim == 0:
                position[name] = _index(axes[name], self.data.coords[name].item())
        toy, _ = self.sweep.at(position)
        if not isinstance(toy, TwoLayer):
            raise KindError(
                "forward works for the two-layer family; build a ModuleToy's module and load its parameters from .data"
            )
        return toy


def _index(axis: list[Any], value: Any) -> int:
    if value in axis:
        return axis.index(value)
    return int(np.argmin(np.abs(np.asarray(axis, dtype=float) - float(value))))


def assemble(sweep: Grid, recipe: Recipe, arrays: Mapping[str, Any], engine: str, notes: list[str]) -> SweepRun:
    """Label the arrays of an archive and look for networks that diverged."""
    axes = sweep.axes
    coords: dict[str, Any] = dict(axes)
    if recipe.history_steps():
        coords["step"] = list(recipe.history_steps())
    rank = len(sweep.shape)
    variables = {}
    for name, value in arrays.items():
        dims = (*axes, *dimensions(sweep, name, len(value.shape) - rank))
        variables[name] = xr.Variable(dims, _lazy(value))
    data = xr.Dataset(variables, coords=coords)
    return SweepRun(sweep, recipe, data, engine, notes, diverged(data, axes))


def diverged(data: xr.Dataset, axes: Mapping[str, list[Any]]) -> list[str]:
    """The networks whose loss is not finite, by their labels."""
    return [
        ", ".join(f"{axis}={axes[axis][i]}" for axis, i in zip(axes, position, strict=True))
        for position in np.argwhere(~np.isfinite(data["loss"].load().values))
    ]


def _lazy(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value
    from xarray.core import indexing

    return indexing.LazilyIndexedArray(_ZarrBacked(value))


class _ZarrBacked(xr.backends.BackendArray):
    """xarray's view of one Zarr array: reads what is indexed, when it is indexed."""

    def __init__(self, array: Any):
        self._array, self.shape, self.dtype = array, array.shape, np.dtype("float32")

    def __getitem__(self, key: Any) -> Any:
        from xarray.core import indexing

        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, lambda k: np.asarray(self._array[k])
        )
