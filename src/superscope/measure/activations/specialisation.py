"""Do the clones of a neuron divide what it answered to? Measures of a family of clones on tokens of two concepts, with nulls.

values (token, r): activations of the r clones of one neuron at tokens that are of one of two concepts; concept (token,) 0 or 1.
Clones that differ by little are told apart by whatever they differ in, and a random difference of input weights correlates with
any difference of inputs: "which clone fires most" goes with the concept from the first step. Both measures therefore ask how
MUCH more: `division` counts a token as owned only where the strongest clone leads the family's mean by half, and
`sharing` compares how the activation is shared out.

Null: clones as far apart as they are, in the directions in which those of other neurons differ (`strangers`). Truth: clones
built to answer one concept each, of unequal strengths, with leaks and noise (`planted`). Misleads where a family divides by
something else than the two concepts it is asked about, or by level of activation.
"""

from __future__ import annotations

import numpy as np

LEAD = 0.5  # of an owner over the mean of its family
UNLIKE = 0.3  # largest correlation of a feature with any other's below which it has no match


def owners(values: np.ndarray, lead: float = LEAD) -> np.ndarray:
    """(token,) 1 + the strongest clone where it leads the family's mean by a share `lead` of it; 0 where nobody does.

    Where the family's mean is below half of its mean over all tokens, that is what is to be led: of hardly any activation,
    noise decides the shares.
    """
    high = np.maximum(values, 0)
    mean = high.mean(axis=1)
    need = lead * np.maximum(mean, mean.mean() / 2)
    return np.where((mean > 0) & (high.max(axis=1) - mean >= need), 1 + high.argmax(axis=1), 0)


def division(values: np.ndarray, concept: np.ndarray) -> float:
    """Adjusted mutual information of a token's owner and its concept (Vinh et al. 2010): 0 expected of permuted concepts.

    1 if each of two clones owns the tokens of one concept, less with more clones; about 0 for clones that are alike.
    """
    from sklearn.metrics import adjusted_mutual_info_score as ami

    return float(ami(concept, owners(values)))


def sharing(values: np.ndarray, concept: np.ndarray) -> float:
    """Bits: the Jensen-Shannon divergence between how the family's activation is shared out on either concept.

    Each clone's share of the summed positive activation on the tokens of a concept; both concepts weigh the same. 0 if the
    shares are the same, 1 if no clone answers both, .05 for two clones that divide either concept 63 to 37. nan if the family
    is silent on one of them.
    """
    high = np.maximum(values, 0)
    mass = np.stack([high[concept == k].sum(axis=0) for k in (0, 1)])
    if not (mass.sum(axis=1) > 0).all():
        return float("nan")
    share = mass / mass.sum(axis=1, keepdims=True)
    return float(_bits(share.mean(axis=0)) - (_bits(share[0]) + _bits(share[1])) / 2)


def _bits(p: np.ndarray) -> float:
    held = p[p > 0]
    return float(-(held * np.log2(held)).sum())


def cosines(w_in: np.ndarray, r: int) -> np.ndarray:
    """(neuron,) mean cosine between the input weights of a neuron's clones. w_in: (d, r m), clone k of neuron j at k m + j."""
    family = np.moveaxis(w_in.reshape(len(w_in), r, -1), 0, -1)  # (clone, neuron, d)
    unit = family / np.maximum(np.linalg.norm(family, axis=-1, keepdims=True), 1e-12)
    total = (unit.sum(axis=0) ** 2).sum(axis=-1)  # sum over all pairs, each with itself too
    return np.asarray((total - r) / (r * (r - 1)))


def strangers(w_in: np.ndarray, b_in: np.ndarray, r: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """W_in and b_in of clones as far from their family's mean as they are, but as those of another neuron are.

    w_in (d, r m), b_in (r m,). Every neuron gets the deviations of
    a stranger's clones, at the size of its own: they sum to 0, so its mean stays.
    """
    both = np.concatenate([w_in, b_in[None]]).reshape(len(w_in) + 1, r, -1)
    mean = both.mean(axis=1, keepdims=True)
    off = both - mean
    m = off.shape[2]
    order = rng.permutation(m)
    other = np.empty(m, dtype=int)
    other[order] = np.roll(order, 1)  # nobody is its own stranger
    given = off[:, :, other]
    length = np.sqrt((off**2).sum(axis=(0, 1)) / np.maximum((given**2).sum(axis=(0, 1)), 1e-24))
    out = (mean + given * length).reshape(len(w_in) + 1, -1)
    return out[:-1], out[-1]


def planted(values: np.ndarray, concept: np.ndarray, r: int, rng: np.random.Generator) -> np.ndarray:
    """(token, r) clones of a neuron that answer one concept each, from the neuron's own activations (token,).

    Clones take the concepts in turn; they are of unequal strength (.6 to 1.4), keep a tenth to four tenths of the activation
    on all else, and have multiplicative noise of .2. concept: (token,) 0, 1, or -1 for tokens of neither.
    """
    out = np.empty((len(values), r))
    for k in range(r):
        leak, strength = rng.uniform(0.1, 0.4), rng.uniform(0.6, 1.4)
        kept = np.where(concept == k % 2, 1.0, leak)
        out[:, k] = values * kept * strength * np.exp(0.2 * rng.normal(size=len(values)))
    return out


def unmatched(these: np.ndarray, those: np.ndarray, least: float = 1e-3, limit: float = UNLIKE) -> float:
    """The share of features (token, n) that correlate below `limit` with every one of `those` (token, k), at the same tokens.

    Features that are on (above 0) at fewer than a share `least` of the tokens are left out. nan if none is left. Null: the
    features that another training of the same dictionary finds.
    """
    kept = these[:, (these > 0).mean(axis=0) >= least]
    if not kept.shape[1]:
        return float("nan")
    a, b = (_standard(one) for one in (kept, those))
    return float(((a.T @ b).max(axis=1) < limit).mean())


def _standard(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-12))
