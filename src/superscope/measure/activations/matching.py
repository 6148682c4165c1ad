"""Are neurons of two models the same? Correlation matrices of their activations, and models with planted copies.

matrix (n, m): Pearson correlation over tokens of every neuron of one model with every one of another (consumer `Correlation`).
Two questions are kept apart. *Namesakes*, neuron i with neuron i, is no search: what is taken off is the mean correlation with
the other neurons, which is what any index would give. *Best match* is a search, and what is taken off is the best match among
as many random directions of the same activations (excess correlation, Gurnee et al. 2024, arXiv 2401.12181). Two neurons are
the same when the excess is above .5, as there. Null of both: models without a shared start, or namesakes out of order.

Misleads: activations that are rarely on correlate by a few tokens, so take documents enough; two neurons with the same sign of
firing everywhere (a common mode of all neurons) are not alike because of it, which is why the other neurons' mean is taken off.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.stats import kurtosis
from torch import Tensor

from superscope.lms.model.activations import MomentsResult, Units
from superscope.lms.model.language_model import LanguageModel

SAME = 0.5  # excess correlation of "the same neuron" (Universal Neurons)


def namesakes(matrix: np.ndarray) -> np.ndarray:
    """(n,) excess correlation of neuron i with neuron i; a neuron that never varies (NaN) is like nothing. Null: 0."""
    found = np.nan_to_num(matrix)
    own = np.diagonal(found)
    return own - (found.sum(axis=1) - own) / (found.shape[1] - 1)


def best_matches(matrix: np.ndarray, rotated: list[np.ndarray]) -> np.ndarray:
    """(n,) excess of each neuron's best match over its best match in random bases of the other model's activations."""
    return np.nan_to_num(matrix).max(axis=1) - np.mean([np.nan_to_num(one).max(axis=1) for one in rotated], axis=0)


def namesake_is_best(matrix: np.ndarray) -> float:
    """Share of neurons whose best match anywhere is their namesake. Null: 1 / m."""
    return float((np.nan_to_num(matrix).argmax(axis=1) == np.arange(len(matrix))).mean())


def row_namesakes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) `namesakes` of the correlations between the rows of a and b (n, V), without making the whole matrix."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (a, b))
    own = np.einsum("nv,nv->n", a, b)
    return own - (a @ b.sum(axis=0) - own) / (len(b) - 1)


def before(model: LanguageModel, layer: int = 0) -> Units:
    """The neurons of a layer before the nonlinearity, as a unit set for `scan`."""
    hook = f"{model.neuron_hook(layer).rpartition('.')[0]}.hook_pre"
    return Units(hook, lambda value: value, f"before {layer}", model, layer)


def firing(model: LanguageModel, layer: int = 0) -> Units:
    """The positive part of the neurons of a layer, as a unit set for `scan`: see `peakedness`."""
    return Units(model.neuron_hook(layer), torch.relu, f"firing {layer}", model, layer)


def peakedness(moments: MomentsResult) -> np.ndarray:
    """(n,) E r^2 / (E r)^2 of `firing` r: 1 over the sparseness of Treves and Rolls (1991); NaN for what never fires.

    1 over the share of tokens it fires on, times 1 for equal and more for unequal firing. Excess kurtosis of the raw values is
    no such measure: raising every threshold of a GELU layer makes it fire more rarely and lowers the kurtosis, because its
    small negative values then make up the variance.
    """
    return (moments.variance + moments.mean**2) / np.where(moments.mean > 0, moments.mean, np.nan) ** 2


# ------------------------------------------------------------------------------------ what neurons read and promote, of weights


def reads(model: LanguageModel, layer: int = 0) -> np.ndarray:
    """(neuron, vocabulary) how each token's embedding drives each neuron directly, through the LayerNorm's weight, up to its
    scale. In deeper layers this is only the direct path."""
    hooked: Any = model.hooked
    weights = hooked.W_in[layer] * hooked.blocks[layer].ln2.w[:, None]
    return _numpy((weights - weights.mean(dim=0)).T @ hooked.W_E.T)  # a LayerNorm takes the mean off


def promotes(model: LanguageModel, layer: int = 0) -> np.ndarray:
    """(neuron, vocabulary) what each neuron adds to the logits directly, through the LayerNorms' weights, up to their scale."""
    hooked: Any = model.hooked
    out = hooked.W_out[layer]
    inner = getattr(hooked.blocks[layer].mlp, "ln", None)
    if inner is not None:  # solu_ln: what is written went through a LayerNorm of its own
        out = inner.w[:, None] * out
    return _numpy(((out - out.mean(dim=1, keepdim=True)) * hooked.ln_final.w) @ hooked.W_U)


def concentration(rows: np.ndarray) -> float:
    """Median over rows (n, V) of the excess kurtosis along them: how few tokens a neuron is about. Null, Gaussian: 0."""
    return float(np.median(kurtosis(rows, axis=1)))


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().numpy()


# ---------------------------------------------------------------------------------------------------------------- planted truth


def with_copies(
    model: LanguageModel, foreign: LanguageModel, which: np.ndarray, noise: np.ndarray, seed: int, layer: int = 0
) -> LanguageModel:
    """`model` with its neurons outside `which` replaced by those of `foreign` (same shape), and those in it kept with noise.

    which (j,): neurons; noise (j,): length of what is added to the reading and to the writing weights of each, over their own
    length. The truth: namesakes of `model` and the result are the same neuron in `which`, up to the noise, and nowhere else.
    """
    draw = torch.Generator().manual_seed(seed)
    hooked: Any = copy.deepcopy(model.hooked)
    mine, other, new = model.hooked.blocks[layer].mlp, foreign.hooked.blocks[layer].mlp, hooked.blocks[layer].mlp
    chosen, length = torch.as_tensor(which), torch.as_tensor(noise, dtype=torch.float32)
    with torch.no_grad():
        for name, axis in (("W_in", 1), ("W_out", 0), ("b_in", 0)):
            theirs, own = (getattr(one, name).detach().clone() for one in (other, mine))
            kept = own.index_select(axis, chosen)
            if name != "b_in":
                rows = kept.movedim(axis, 0)  # (j, d)
                random = torch.randn(rows.shape, generator=draw)
                rows = rows + length[:, None] * rows.norm(dim=1, keepdim=True) * random / random.norm(dim=1, keepdim=True)
                kept = rows.movedim(0, axis)
            getattr(new, name).copy_(theirs.index_copy(axis, chosen, kept))
    card = {**model.card, "copies": len(which)}
    return replace(model, name=f"{model.name} with {len(which)} copies", hooked=hooked, origin="control", card=card)


def out_of_order(model: LanguageModel, seed: int, layer: int = 0) -> LanguageModel:
    """`model` with the neurons of a layer numbered anew: the same function, and namesakes that are strangers."""
    order = torch.randperm(model.d_mlp, generator=torch.Generator().manual_seed(seed))
    hooked: Any = copy.deepcopy(model.hooked)
    mlp = hooked.blocks[layer].mlp
    with torch.no_grad():
        mlp.W_in.copy_(mlp.W_in[:, order].clone())
        mlp.b_in.copy_(mlp.b_in[order].clone())
        mlp.W_out.copy_(mlp.W_out[order].clone())
        if getattr(mlp, "ln", None) is not None:
            for one in (mlp.ln.w, mlp.ln.b):
                one.copy_(one[order].clone())
    return replace(model, name=f"{model.name} out of order", hooked=hooked, origin="control")


def sharpened(model: LanguageModel, by: np.ndarray, layer: int = 0) -> LanguageModel:
    """`model` with the biases of a layer's neurons lowered by `by` (neuron,): they fire more rarely, by construction."""
    hooked: Any = copy.deepcopy(model.hooked)
    with torch.no_grad():
        hooked.blocks[layer].mlp.b_in.sub_(torch.as_tensor(by, dtype=torch.float32))
    return replace(model, name=f"{model.name} sharpened", hooked=hooked, origin="control")
