"""Networks that compute max(x, y) = x + ReLU(y - x) with whole neurons, unequal and perturbed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.toys.aligned import AlignedPairs, pairs_of


@dataclass(frozen=True)
class Allocated(AlignedPairs):
    """A network that starts as the best hand-out of whole neurons.

    Disjoint pairs: one neuron each, ReLU(x + y), while there are any; where there is a second one too, x and ReLU(y - x).
    All pairs: every input has a neuron that passes it (the last one none, once all its pairs are exact: x + ReLU(y - x) needs
    only x), each further neuron makes one pair exact. noise: relative, of every
    weight. density: of the inputs, for the mean answer about pairs that have no neuron.
    """

    noise: float = 0.1
    density: float = 0.0

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Initial parameters, float32."""
        first, second = pairs_of(str(self.target), self.n_features)
        w, out = np.zeros((self.n_hidden, self.n_features)), np.zeros((len(first), self.n_hidden))
        if str(self.target) == "max":
            self._disjoint(w, out, rng.permutation(len(first)))
        else:
            self._all(w, out, first, second)
        gain = rng.uniform(0.5, 2, self.n_hidden)
        w, out = (a * (1 + self.noise * rng.standard_normal(a.shape)) for a in (w * gain[:, None], out / gain))
        unserved = np.abs(out).max(1) == 0
        p = self.density
        mean = np.where(unserved, p * (1 - p) + 2 * p**2 / 3, 0)
        values = {"W": w, "b_hidden": np.zeros(self.n_hidden), "W_out": out, "b_out": mean}
        return {name: value.astype(np.float32) for name, value in values.items()}

    def _disjoint(self, w: np.ndarray, out: np.ndarray, order: np.ndarray) -> None:
        """Pairs in the given order: the first ones get a second neuron, the last ones none if there are too few."""
        for k, pair in enumerate(order[: self.n_hidden]):
            w[k, [2 * pair, 2 * pair + 1]], out[pair, k] = 1, 1
        for k, pair in zip(range(len(order), self.n_hidden), order, strict=False):
            w[out[pair].argmax(), 2 * pair + 1] = 0
            w[k, [2 * pair, 2 * pair + 1]], out[pair, k] = (-1, 1), 1

    def _all(self, w: np.ndarray, out: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
        """Pairs of the last input are made exact first: when all of them are, it need not be passed."""
        n = self.n_features
        passed = n - 1 if self.n_hidden >= 2 * (n - 1) else n
        w[np.arange(passed), np.arange(passed)] = 1
        for pair in range(len(first)):
            out[pair, [one for one in (first[pair], second[pair]) if one < passed]] = 1
        order = np.argsort(second != n - 1, kind="stable")
        for k, pair in zip(range(passed, self.n_hidden), order, strict=False):
            w[k, [first[pair], second[pair]]] = (-1, 1)
            if second[pair] < passed:
                out[pair, second[pair]] = 0
            out[pair, k] = 1
