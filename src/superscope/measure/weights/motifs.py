"""Motifs of the absolute value model: which neurons compute which half of |x_i|, alone, shared, or in parts.

W_in (..., hidden, feature) and W_out (..., feature, hidden) of y = g(W_out ReLU(W_in x) + b). A "half" is a feature with a
sign, so there are 2n of them. The product c_ki = |W_in_ki| W_out_ik is what neuron k adds to output i per unit of x_i of the
sign it listens to; it survives rescaling of neurons. Asymmetric superposition and its inhibiting neuron are from TMS (arXiv
2209.10652, section 8); the distributed half has no name there. Assumes no hidden bias (a bias breaks homogeneity: the
products then describe large inputs only). Nulls: `regrouped`, which keeps every neuron's products and destroys which features
they meet at; `shuffled`, the entries of both matrices in random places, destroys both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from superscope.measure.weights._arrays import to_numpy

HALVES = ("unlearned", "dedicated", "asymmetric", "symmetric", "distributed")


@dataclass(frozen=True)
class Motifs:
    """Counts per model, shape (...): of 2n halves by kind, and of neurons.

    halves: (..., 5) counts in the order of HALVES: response to |x| = 1 outside [0.7, 1.3]; one neuron gives >= 0.7 of it
        and serves no other half so; that neuron serves another half too, with input weights in a ratio above 2, or below;
        no neuron gives 0.7.
    pairs: features with a product > 0.8 for either sign. half_absolute: neurons with a product > 0.8 for exactly one half.
    asymmetric: (neuron, feature, feature) with both products in [0.7, 1.3], input weights in a ratio above 2.
    inhibited: those whose interference (strong input on weak output) another neuron answers with a product < -0.2.
    mono, poly: neurons with one, or at least two, products above 0.2 in size.
    """

    halves: np.ndarray
    pairs: np.ndarray
    half_absolute: np.ndarray
    asymmetric: np.ndarray
    inhibited: np.ndarray
    mono: np.ndarray
    poly: np.ndarray


def motifs(W_in, W_out, b_out=0.0) -> Motifs:
    """Find the motifs. W_in (..., m, n), W_out (..., n, m), b_out (..., n) or 0."""
    w1, w2 = to_numpy(W_in), to_numpy(W_out)
    if w1.shape[-2:] != w2.shape[:-3:-1]:
        raise ValueError(
            f"W_in has shape {w1.shape} and W_out {w2.shape}: expected (..., hidden, feature), (..., feature, hidden)"
        )
    lead, n = w1.shape[:-2], w1.shape[-1]
    bias = np.broadcast_to(to_numpy(b_out), (*lead, n))
    product = np.abs(w1) * np.swapaxes(w2, -1, -2)  # (..., m, n)
    sides = np.stack([w1 > 0, w1 < 0], axis=-3)  # (..., 2, m, n)
    each = np.where(sides, product[..., None, :, :], 0.0)
    response = each.sum(-2) + bias[..., None, :]  # (..., 2, n)
    top, owner = each.max(-2), each.argmax(-2)
    learned = (response >= 0.7) & (response <= 1.3)
    single = learned & (top >= 0.7)

    full = (product >= 0.7) & (product <= 1.3)  # (..., m, n)
    size = np.abs(w1)
    both = full[..., :, None] & full[..., None, :] & ~np.eye(n, dtype=bool)  # (..., m, a, b)
    ratio = size[..., :, None] > 2 * size[..., None, :]  # the neuron listens to a much more than to b
    lopsided, calmed = asymmetric_triples(w1, w2)
    kin = np.swapaxes(ratio, -1, -2) | ratio
    shares_unequal = np.take_along_axis((both & kin).any(-1)[..., None, :, :], owner[..., None, :], axis=-2)[..., 0, :]
    shares = np.take_along_axis(both.any(-1)[..., None, :, :], owner[..., None, :], axis=-2)[..., 0, :]
    kinds = [
        ~learned,
        single & ~shares,
        single & shares & shares_unequal,
        single & shares & ~shares_unequal,
        learned & ~single,
    ]

    count = (np.abs(product) >= 0.2).sum(-1)
    return Motifs(
        halves=np.stack([k.sum((-1, -2)) for k in kinds], axis=-1),
        pairs=np.all((each > 0.8).any(-2), axis=-2).sum(-1),
        half_absolute=((product > 0.8).sum(-1) == 1).sum(-1),
        asymmetric=lopsided.sum((-1, -2, -3)),
        inhibited=(lopsided & calmed).sum((-1, -2, -3)),
        mono=(count == 1).sum(-1),
        poly=(count >= 2).sum(-1),
    )


def asymmetric_triples(W_in, W_out) -> tuple[np.ndarray, np.ndarray]:
    """(..., m, a, b) bool: neuron k serves features a and b, both products in [0.7, 1.3], and reads a over twice as much as b;
    and another neuron that reads a answers k's interference on output b with a product below -0.2."""
    w1, w2 = to_numpy(W_in), to_numpy(W_out)
    size, writes = np.abs(w1), np.swapaxes(w2, -1, -2)
    full = (size * writes >= 0.7) & (size * writes <= 1.3)  # (..., m, n)
    both = full[..., :, None] & full[..., None, :] & ~np.eye(w1.shape[-1], dtype=bool)
    lopsided = both & (size[..., :, None] > 2 * size[..., None, :])
    answers = size[..., :, :, None] * writes[..., :, None, :] < -0.2  # (..., l, a, b)
    calmed = np.zeros_like(lopsided)
    for side in (w1 > 0, w1 < 0):
        some = (answers & side[..., None]).any(-3, keepdims=True)  # (..., 1, a, b): k itself excites b, so l != k
        calmed |= some & side[..., None]
    return lopsided, calmed


def shuffled(W_in, W_out, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both matrices of every model with their entries in random places (the neurons stay of comparable size)."""
    w1, w2 = to_numpy(W_in).copy(), to_numpy(W_out).copy()
    scale = np.sqrt(np.maximum(np.abs(w1).max(-1), 1e-12) / np.maximum(np.abs(w2).max(-2), 1e-12))  # same function
    w1, w2 = w1 / scale[..., None], w2 * scale[..., None, :]
    for w in (w1, w2):
        flat = w.reshape(*w.shape[:-2], -1)
        flat[...] = rng.permuted(flat, axis=-1)
    return w1, w2


def regrouped(W_in, W_out, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every neuron with its features relabelled by a permutation of its own: its products stay, coordination between neurons
    goes."""
    w1, w2 = to_numpy(W_in), to_numpy(W_out)
    order = rng.permuted(np.broadcast_to(np.arange(w1.shape[-1]), w1.shape), axis=-1)
    return np.take_along_axis(w1, order, -1), np.swapaxes(np.take_along_axis(np.swapaxes(w2, -1, -2), order, -1), -1, -2)


def half_absolute_neurons(w_in: np.ndarray, w_out: np.ndarray) -> np.ndarray:
    """(..., hidden) whether a neuron is half of |x|: it reads one feature only and writes only there with product 1.

    W (..., hidden, feature), W_out (..., feature, hidden). Positive homogeneity leaves the scale between the layers free,
    so the product is what is pinned down: w_in * w_out = sign.
    """
    top = (np.abs(w_in) * np.swapaxes(w_out, -1, -2)).max(-1)
    rest = np.abs(w_in).sum(-1) * np.abs(w_out).sum(-2) - top  # every other path from an input through it to an output
    return (np.abs(top - 1) < 0.05) & (rest < 0.05)
