"""How many ANDs of pairs of bits a hidden layer holds: fitted linear read-outs, and the neurons that they need.

Formula. For a pair (i, j), samples with the rows 00, 01 or 10, 11 of its truth table weighing alike, the other bits on with
chance p; a least-squares read-out with at least 12 samples a weight; the gate is computed when its error is below 1/4 in 95 %
of *held-out* samples of every row (`rows_within`). 1/4 is the smallest worst error of any linear function of the bits, so that
a layer without a non-linearity computes nothing, whereas a threshold at 1/2 would pass it. `neurons_needed` is the width at
which the mean over gates crosses 95 %: a count of gates at one width jumps from none to all within a third more neurons, and so
turns any small difference into a large one. Noise is Gaussian, in units of each neuron's own standard deviation, in fit and
judgement.

Sources. Vaintrob, Mendel and Hanni 2024 (arXiv 2408.05451); many more ANDs than neurons if bits are rare. Theory
(`neurons_in_theory`): in a layer whose neurons are random quadratic forms a product of bits has a random signature. The best
read-out of one among others is a linear multi-user detector, whose interference at power P is damped to P / (1 + P beta), where
1 / beta = sum P / (1 + P beta) / dimensions (Tse and Hanly 1999, IEEE Trans. Inf. Theory 45, 641).

Null: a linear layer, 0. Planted: squares with n(n + 1)/2 neurons hold all ANDs exactly.
Misleads: too few samples a weight, and a different number of bits on: with as dense inputs a layer of twice the size needs far
more neurons. One read-out is judged at a time: all at once take as many outputs as there are gates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.linalg import solve
from scipy.optimize import brentq
from scipy.special import erf
from scipy.stats import binom

QUARTER, MOST = 0.25, 0.95
SAMPLES = 12  # a weight
RIDGE = 1e-7  # of a variance of one
WIDEST = 2.2  # times what theory gives for squares: the widest layer that is tried

Pair = Sequence[int] | np.ndarray
Widths = Sequence[int] | np.ndarray
Features = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def row_samples(n: int, p: float, pair: Pair, count: int, rng: np.random.Generator) -> np.ndarray:
    """(3 count, n) bits: those of `pair` forced to 00, then 01 or 10, then 11, the others on with chance p."""
    x = (rng.random((3 * count, n)) < p).astype(float)
    first = rng.random(count) < 0.5
    x[:count, list(pair)] = 0
    x[count : 2 * count, pair[0]], x[count : 2 * count, pair[1]] = first, ~first
    x[2 * count :, list(pair)] = 1
    return x


def rows_within(
    features: Features, n: int, p: float, pair: Pair, widths: Widths, noises: Sequence[float],
    rng: np.random.Generator, held_out: int = 500,
) -> dict[str, np.ndarray]:  # fmt: skip
    """{layer: (noise, width, 3)} share of held-out samples of each row with error below 1/4.

    features(x): {layer: (P, H)} hidden activations of bits x (P, n); all layers see the same samples. widths: how many of the
    neurons, from the first, a read-out may use.
    """
    fit = row_samples(n, p, pair, SAMPLES * (int(max(widths)) + 1) // 3 + 1, rng)
    judge = row_samples(n, p, pair, held_out, rng)
    error = rng.standard_normal(len(judge))
    target, truth = (np.repeat([0.0, 0.0, 1.0], len(x) // 3) for x in (fit, judge))
    fitted, judged = features(fit), features(judge)
    found = {}
    for name, hidden in fitted.items():
        mean, size = hidden.mean(0), hidden.std(0) + 1e-12
        a, b = (hidden - mean) / size, (judged[name] - mean) / size
        gram, moment = a.T @ a / len(a), a.T @ (target - 1 / 3) / len(a)
        table = np.empty((len(noises), len(widths), 3))
        for i, noise in enumerate(noises):
            for j, width in enumerate(widths):
                here = gram[:width, :width] + (RIDGE + noise**2) * np.eye(width)
                weight = solve(here, moment[:width], assume_a="pos")
                said = b[:, :width] @ weight + 1 / 3 + noise * np.sqrt((weight**2).sum()) * error
                table[i, j] = (np.abs(said - truth) < QUARTER).reshape(3, -1).mean(1)
        found[name] = table
    return found


def computed(hidden: Callable[[np.ndarray], np.ndarray], n: int, p: float, rng: np.random.Generator) -> int:
    """How many of all n(n - 1)/2 ANDs fresh read-outs find in one layer: hidden(x (P, n)) -> (P, H)."""
    width = hidden(np.zeros((1, n))).shape[1]

    def features(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"": hidden(x)}

    pairs = np.stack(np.triu_indices(n, 1), axis=1)
    return sum(bool(rows_within(features, n, p, pair, [width], [0.0], rng)[""].min() >= MOST) for pair in pairs)


def neurons_needed(within: np.ndarray, widths: Widths) -> float:
    """Width at which the worst row crosses 95 %, interpolated; infinite if it does not. within (gate, width, 3)."""
    worst = np.maximum.accumulate(np.mean(within, axis=0).min(1))
    if worst[-1] < MOST:
        return np.inf
    above = int(np.argmax(worst >= MOST))
    if above == 0:
        return float(widths[0])
    low, high = worst[above - 1], worst[above]
    return float(widths[above - 1] + (MOST - low) / (high - low) * (widths[above] - widths[above - 1]))


def neurons_in_theory(n: int, p: float) -> float:
    """Neurons that random quadratic forms of n bits need, by the fixed point above; never more than n(n + 1)/2, which is exact.

    Read-outs lose n + 1 dimensions to single bits. Interferers of the pair (i, j): 2(n - 2) products that share a bit with it,
    each of power p(1 - p)/4, and (n - 2)(n - 3)/2 others of power p^2 (1 - p)^2. Errors are Gaussian given the number
    of bits on.
    """
    number = np.array([2 * (n - 2), (n - 2) * (n - 3) / 2])
    power = np.array([p * (1 - p) / 4, (p * (1 - p)) ** 2])
    on = np.arange(n - 1)

    def within(width: float) -> float:
        dimensions = width - n - 1

        def balance(log_beta: float) -> float:
            beta = np.exp(log_beta)
            return float(1 / beta - (number * power / (1 + power * beta)).sum() / dimensions)

        beta = np.exp(brentq(balance, -20, 60))
        left = 1 / (1 + power * beta) ** 2
        leak = left / (beta * (number * power * left).sum())
        variance = on / 2 * leak[0] + on * (on - 1) / 2 * leak[1]
        variance = np.maximum(variance * (1 + 1 / (SAMPLES - 1)), 1e-12)  # read-outs fitted to finitely many samples
        return float(binom.pmf(on, n - 2, p) @ erf(QUARTER / np.sqrt(2 * variance)))

    least, most = n + 2.0, n * (n + 1) / 2 - 2.0
    return most + 2 if most <= least or within(most) < MOST else float(brentq(lambda width: within(width) - MOST, least, most))


def per_neuron(
    layer: Callable[[int], Features], n: int, p: float, gates: int, widths: int, noises: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:  # fmt: skip
    """{layer: (noise,)} all n(n - 1)/2 pairs over the neurons that `gates` random ones of them need; 0 if the widest layer
    computes none.

    layer(H): features of a layer of H neurons. widths: how many are tried, from 0.7 to `WIDEST` times what theory gives for
    squares.
    """
    theory = neurons_in_theory(n, p)
    tried = np.unique(np.linspace(0.7 * theory, WIDEST * theory, widths).astype(int))
    features = layer(int(tried[-1]))
    found = [rows_within(features, n, p, rng.choice(n, 2, replace=False), tried, noises, rng) for _ in range(gates)]
    return {
        name: np.array(
            [n * (n - 1) / 2 / neurons_needed(np.array([one[name][i] for one in found]), tried) for i in range(len(noises))]
        )
        for name in found[0]
    }
