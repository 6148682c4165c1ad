"""How crowded the directions of an MLP layer's neurons are: numbers from weights alone, for layers of 65,536 neurons too.

One row a neuron: what it reads (w_in) and what it writes (w_out), both (n, d). Only lengths of rows that are zero are left out.

- `crowding`: mean squared cosine of two different neurons, times d: 1 for independent isotropic directions whatever n (the
  null, in closed form), (n - d) / (n - 1) at the least for n >= d (Welch 1974), d if all are one. It is the frame potential
  (Benedetto and Fickus 2003) of the unit rows, so it says how unequally directions are used, not whether neurons come in pairs.
- `nearest`: each neuron's cosine to its nearest and to its most opposite neighbour among all others. It grows with n and with
  anisotropy by chance: compare with `directions_like`, which has the same mean direction and anisotropy and no pairs.
- `alignment`: d times the mean squared cosine of what a neuron reads and what it writes; 1 for independent directions. Null:
  neurons' outputs given to other neurons, which keeps both sets of directions.

Memory: the unit rows in float32 and d x d or chunk x n products. Nothing is n x n. Lengths of rows do not matter to cosines, so
`directions_like` fits directions alone: a Gaussian fitted to the rows themselves (`configurations.matched_rows`) follows the
long ones, and where those point elsewhere finds an excess in rows without pairs. Misleads where directions come in clusters,
which no Gaussian has; n < 8 d leaves the fit loose and the excess of both signs a few hundredths too low.
"""

from __future__ import annotations

import numpy as np

from superscope.measure.weights import configurations

_CHUNK = 256
SILENT = 0.01  # a neuron whose row is shorter than this share of the median row has been switched off


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """(m, d) float32 rows of length 1, without rows that are zero. ValueError when fewer than two are left."""
    if rows.ndim != 2:
        raise ValueError(f"rows have shape {rows.shape}: expected (neuron, dimension)")
    norms = _norms(rows)
    there = norms > 0
    if there.sum() < 2 or not np.isfinite(norms).all():
        raise ValueError(
            f"rows {rows.shape}: {int(there.sum())} are not zero and {int((~np.isfinite(norms)).sum())} not finite"
        )
    kept = rows if there.all() else rows[there]
    return np.asarray(kept / norms[there][:, None].astype(rows.dtype), dtype=np.float32)


def _norms(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))


def crowding(rows: np.ndarray) -> float:
    """d times the mean of cos^2 over pairs of different rows (n, d), from the (d, d) Gram matrix: ||U^T U||_F^2 sums them."""
    unit = unit_rows(rows)
    n, d = unit.shape
    gram = (unit.T @ unit).astype(np.float64)
    return float(d * ((gram**2).sum() - n) / (n * (n - 1)))


def floor(n: int, d: int) -> float:
    """The least `crowding` that n directions in d dimensions can have (Welch 1974); 0 while they can all be orthogonal."""
    return max(0.0, (n - d) / (n - 1))


def nearest(rows: np.ndarray, which: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of rows `which` (default: all) with their nearest and their most opposite neighbour among all rows (n, d)."""
    unit = unit_rows(rows)
    if len(unit) != len(rows) and which is not None:
        raise ValueError(f"{len(rows) - len(unit)} rows are zero: leave them out before choosing rows")
    chosen = np.arange(len(unit)) if which is None else np.asarray(which)
    near, far = np.empty(len(chosen)), np.empty(len(chosen))
    for start in range(0, len(chosen), _CHUNK):
        part = chosen[start : start + _CHUNK]
        cosines = unit[part] @ unit.T
        far[start : start + len(part)] = cosines.min(axis=1)
        cosines[np.arange(len(part)), part] = -2
        near[start : start + len(part)] = cosines.max(axis=1)
    return near, far


def projected_normal(unit: np.ndarray, steps: int = 12, tolerance: float = 2e-3) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and R (d, d) of the Gaussian x = mean + z R whose directions x / |x| are distributed like the unit rows (n, d).

    The lengths r of the x are not seen: in turn each is set to its mode given its direction u, which solves r^2 a - r b = d - 1
    with a = u S^-1 u and b = u S^-1 mean, and mean and S are fitted to r u. Without a mean that is Tyler's estimator of scatter
    (1987). Needs n > d.
    """
    n, d = unit.shape
    if n <= d:
        raise ValueError(f"unit rows {unit.shape}: more rows than dimensions are needed to fit a Gaussian to them")
    length = np.ones(n)
    for _ in range(steps):
        weighted = length[:, None].astype(unit.dtype) * unit
        mean = weighted.mean(axis=0, dtype=np.float64)
        covariance = (weighted.T @ weighted).astype(np.float64) / n - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        values = np.maximum(values, 1e-6 * values.mean())
        whitened = unit @ (vectors / np.sqrt(values)).astype(unit.dtype)
        a = np.einsum("nd,nd->n", whitened, whitened, dtype=np.float64)
        b = whitened.astype(unit.dtype) @ ((mean @ vectors) / np.sqrt(values)).astype(unit.dtype)
        fresh = (b + np.sqrt(b.astype(float) ** 2 + 4 * (d - 1) * a)) / (2 * a)
        fresh /= fresh.mean()
        moved, length = float(np.abs(fresh - length).mean()), fresh
        if moved < tolerance:
            break
    return mean, np.sqrt(values)[:, None] * vectors.T


def directions_like(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, d) float32 independent unit rows with the mean direction and the anisotropy of `rows` (n, d): no pairs."""
    mean, root = projected_normal(unit_rows(rows))
    fresh = rng.standard_normal(rows.shape, dtype=np.float32) @ root.astype(np.float32)
    fresh += mean.astype(np.float32)
    return unit_rows(fresh)


def excess(rows: np.ndarray, rng: np.random.Generator, sample: int = 2000) -> dict[str, float]:
    """How much nearer the nearest, and more opposite the most opposite, neighbour is than among `directions_like` them.

    Means over `sample` rows: "nearest" and "opposite" are the cosines, "near" and "opposed" by how much they exceed chance, as
    a share of what is left between chance and 1 (null: 0; every neuron with an exact double: 1).
    """
    unit = unit_rows(rows)
    which = rng.choice(len(unit), min(sample, len(unit)), replace=False)
    near, far = (float(one.mean()) for one in nearest(unit, which))
    chance_near, chance_far = (float(one.mean()) for one in nearest(directions_like(unit, rng), which))
    return {
        "near": (near - chance_near) / max(1 - chance_near, 1e-9), "opposed": (chance_far - far) / max(1 + chance_far, 1e-9),
        "nearest": near, "opposite": far,
    }  # fmt: skip


def alignment(w_in: np.ndarray, w_out: np.ndarray) -> tuple[float, float]:
    """d times the mean squared cosine of each neuron's w_in and w_out (n, d) (null: 1), and the mean cosine (null: 0)."""
    if w_in.shape != w_out.shape:
        raise ValueError(f"w_in {w_in.shape} and w_out {w_out.shape}: expected one row of each for every neuron")
    norms = _norms(w_in) * _norms(w_out)
    there = norms > 0
    cosines = np.einsum("nd,nd->n", w_in, w_out, dtype=np.float64)[there] / norms[there]
    return float(w_in.shape[1] * (cosines**2).mean()), float(cosines.mean())


def silent(w_in: np.ndarray, w_out: np.ndarray) -> float:
    """Share of neurons whose w_in or w_out is shorter than 1 % of the median one: switched off, whatever the text."""
    short = [norms < SILENT * np.median(norms) for norms in (_norms(w_in), _norms(w_out))]
    return float((short[0] | short[1]).mean())


def unequal(rows: np.ndarray) -> float:
    """Standard deviation over mean of the lengths of rows (n, d)."""
    norms = _norms(rows)
    return float(norms.std() / norms.mean())


def planted_duplicates(rows: np.ndarray, strengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`rows` in which the second of each of len(strengths) random pairs of rows has this cosine with the first, its norm kept.

    Negative strengths plant opposites.
    """
    return configurations.plant_pairs(np.asarray(rows, dtype=float), -np.asarray(strengths), rng)[0]


def copied(rows: np.ndarray, times: int, rng: np.random.Generator, noise: tuple[float, float] = (0.05, 0.3)) -> np.ndarray:
    """(times n, d) float32 every row of rows (n, d) so many times, each with noise of its own, a share of its length."""
    out = np.repeat(rows, times, axis=0)
    size = rng.uniform(*noise, len(out)) * _norms(out) / np.sqrt(out.shape[1])
    return np.asarray(out + size[:, None] * rng.standard_normal(out.shape), dtype=np.float32)


def evened(rows: np.ndarray) -> np.ndarray:
    """`rows` (n, d) turned so that they use all dimensions equally: whitened by the second moments of their directions."""
    unit = unit_rows(rows)
    values, vectors = np.linalg.eigh(unit.T @ unit)
    return np.asarray(rows @ (vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))) @ vectors.T, dtype=np.float32)


def turned_along(rows: np.ndarray, axes: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """`rows` (n, d) turned about to these cosines (n,) with `axes` (n, d), their lengths kept; NaN leaves a row as it is."""
    unit = axes / _norms(axes)[:, None]
    aside = rows - np.einsum("nd,nd->n", rows, unit)[:, None] * unit
    aside /= _norms(aside)[:, None]
    made = _norms(rows)[:, None] * (cosines[:, None] * unit + np.sqrt(1 - cosines[:, None] ** 2) * aside)
    return np.where(np.isnan(cosines)[:, None], rows, made)


def report(w_in: np.ndarray, w_out: np.ndarray, rng: np.random.Generator, sample: int = 2000) -> dict[str, float]:
    """Everything here of one layer: w_in and w_out (n, d), one row a neuron. See `planned`."""
    out: dict[str, float] = {}
    for kind, rows in (("in", w_in), ("out", w_out)):
        out[f"crowding {kind}"] = crowding(rows)
        out |= {f"{name} {kind}": value for name, value in excess(rows, rng, sample).items()}
        out[f"unequal {kind}"] = unequal(rows)
    out["aligned"], out["in-out cosine"] = alignment(w_in, w_out)
    out["silent"] = silent(w_in, w_out)
    return out


def planned(n: int, d: int, sample: int = 2000) -> int:
    """Bytes at the peak of `report` for n neurons in d dimensions: the float32 weights and at most four more such arrays."""
    return 4 * 6 * n * d + 4 * 2 * min(_CHUNK, sample) * n + 8 * 8 * d * d
