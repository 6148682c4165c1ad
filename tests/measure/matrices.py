"""Planted and random weight matrices shared by the tests of measure."""

from __future__ import annotations

import numpy as np
import xarray as xr
from hypothesis import settings
from hypothesis import strategies as st

from superscope.measure import ideal
from superscope.measure.weights.nulls import haar_rotations

steady = settings(derandomize=True, deadline=None, max_examples=40)


def block(*parts: np.ndarray) -> np.ndarray:
    """Direct sum: parts in mutually orthogonal subspaces."""
    rows, columns = (sum(p.shape[a] for p in parts) for a in (0, 1))
    W = np.zeros((rows, columns))
    r = c = 0
    for part in parts:
        W[r : r + part.shape[0], c : c + part.shape[1]] = part
        r, c = r + part.shape[0], c + part.shape[1]
    return W


def digons(m: int) -> np.ndarray:
    return block(*[ideal("digon")] * m)


def turned(W: np.ndarray, seed: int = 0) -> np.ndarray:
    return haar_rotations(len(W), 1, seed)[0] @ W


def labelled(W: np.ndarray, **lead) -> xr.DataArray:
    """DataArray with leading dims named and labelled by `lead`, and features labelled f0, f1, ..."""
    features = [f"f{i}" for i in range(W.shape[-1])]
    return xr.DataArray(W, dims=(*lead, "hidden", "feature"), coords={**lead, "feature": features})


@st.composite
def matrices(draw, max_hidden: int = 5, max_features: int = 8) -> np.ndarray:
    """Random W: Gaussian, with some features dropped and some rescaled."""
    m, n = draw(st.integers(1, max_hidden)), draw(st.integers(1, max_features))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return rng.normal(size=(m, n)) * rng.choice([0, 0.3, 1, 1, 2], size=n)
