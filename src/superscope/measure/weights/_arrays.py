"""One way in and out for every measure: xarray, NumPy or torch in; xarray or NumPy out; NaN padding handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from superscope.errors import SettingError

CORE = ("hidden", "feature")


def to_numpy(array: Any) -> np.ndarray:
    """Plain float64 array of a DataArray, tensor, array or nested list."""
    if hasattr(array, "detach"):  # torch, without importing it; NumPy has no bfloat16
        array = array.detach().cpu().double().numpy()
    try:
        return np.asarray(getattr(array, "values", array), dtype=float)
    except (TypeError, ValueError) as error:
        raise SettingError(f"{array!r:.80} is no array of numbers ({error})") from None


@dataclass(frozen=True)
class Directions:
    """Unwrapped weights. values (..., hidden, feature) with padding set to 0, hidden (..., hidden) and
    features (..., feature) flags of what is really there, source: the DataArray that was passed, or None.

    A row or column that is NaN throughout is padding and is dropped. A NaN anywhere else (a diverged run) stays and
    makes every number that uses it NaN, on purpose.
    """

    values: np.ndarray
    hidden: np.ndarray
    features: np.ndarray
    source: Any

    @property
    def n_hidden(self) -> np.ndarray:
        return self.hidden.sum(-1)

    @property
    def n_features(self) -> np.ndarray:
        return self.features.sum(-1)

    def models(self):
        """(index, W without padding (m, n), feature numbers (n,)) for each model over the leading dims."""
        for index in np.ndindex(self.values.shape[:-2]):
            hidden, features = self.hidden[index], self.features[index]
            yield index, self.values[index][hidden][:, features], np.flatnonzero(features)

    def blank(self, result: np.ndarray) -> np.ndarray:
        """Per-feature result (..., feature) with NaN where the feature is padding."""
        return np.where(self.features, result, np.nan)

    def blank_model(self, result: np.ndarray) -> np.ndarray:
        """Per-model result (...) with NaN where the model is all padding or has diverged: a count of it is not 0."""
        lost = ~self.hidden.any(-1) | np.isnan(self.values).any(axis=(-2, -1))
        return np.where(lost, np.nan, result)

    def wrap(self, result, dims: tuple[str, ...], name: str):
        """Give `result` (leading dims + dims) the kind of the input; coordinates of kept dims are kept."""
        result = np.asarray(result)
        if self.source is None:
            return result[()] if result.ndim == 0 else result
        import xarray as xr

        lead = tuple(d for d in self.source.dims if d not in CORE)
        keep = {k: c for k, c in self.source.coords.items() if set(c.dims) <= set(lead + dims)}
        return xr.DataArray(result, dims=lead + dims, coords=keep, name=name)


def unwrap(W, name: str = "W") -> Directions:
    """Read weights: a DataArray with dims "hidden" and "feature", or an array whose last axes are (hidden, feature)."""
    source = None
    if hasattr(W, "dims") and hasattr(W, "coords"):
        missing = [d for d in CORE if d not in W.dims]
        if missing:
            raise SettingError(
                f"{name} has dims {tuple(W.dims)} of shape {tuple(W.shape)}: missing {missing}. "
                "A DataArray needs the dims 'hidden' and 'feature'; rename yours with .rename({'old': 'hidden'})"
            )
        source = W.transpose(..., *CORE)
        values = to_numpy(source)
    else:
        values = to_numpy(W)
        if values.ndim < 2:
            raise SettingError(f"{name} has shape {values.shape}: expected (..., hidden, feature), at least two axes")
    if 0 in values.shape[-2:]:
        raise SettingError(f"{name} has shape {values.shape}: hidden and feature must both be at least 1")
    there = ~np.isnan(values)
    hidden, features = there.any(-1), there.any(-2)
    present = hidden[..., :, None] & features[..., None, :]
    return Directions(np.where(present, values, 0.0), hidden, features, source)


def align(array, to: Directions, core: tuple[str, ...], name: str) -> np.ndarray:
    """Companion of W (bias, read-out weights) as (leading dims..., *core), padding 0; a number or None broadcasts."""
    sizes = {"hidden": to.values.shape[-2], "feature": to.values.shape[-1]}
    shape = to.values.shape[:-2] + tuple(sizes[d] for d in core)
    if array is None:
        return np.zeros(shape)
    if to.source is not None and hasattr(array, "dims") and hasattr(array, "coords"):
        lead = tuple(d for d in to.source.dims if d not in CORE)
        if set(array.dims) - set(lead + core):
            raise SettingError(f"{name} has dims {tuple(array.dims)}: expected a subset of {lead + core}, the dims of W")
        template = to.source.isel({d: 0 for d in CORE if d not in core}, drop=True)
        array = array.broadcast_like(template).transpose(*lead, *core)
    values = to_numpy(array)
    try:
        values = np.broadcast_to(values, shape)
    except ValueError:
        raise SettingError(f"{name} has shape {values.shape}: expected {shape}, that is (..., {', '.join(core)})") from None
    flags = {"hidden": to.hidden, "feature": to.features}
    for axis, dim in enumerate(core):
        flag = flags[dim]
        extra = (1,) * (len(core) - 1 - axis)
        flag = flag.reshape(flag.shape[:-1] + (1,) * axis + flag.shape[-1:] + extra)
        values = np.where(flag, values, 0.0)
    return values
