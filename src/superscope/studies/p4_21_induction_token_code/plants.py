"""4.21: codes and heads whose answer is known, in the size of the model's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from superscope import lms
from superscope.measure.activations import heads
from superscope.measure.weights import circuits
from superscope.studies.p4_21_induction_token_code.measured import heard, static
from superscope.studies.p4_21_induction_token_code.setting import (
    CIRCLE,
    COPIERS,
    CROWD,
    KINDS,
    LABELS,
    SPARSE,
    TWINS,
    UNEQUAL,
    UNIT,
    Config,
)
from superscope.studies.p4_21_induction_token_code.words import Words


def planted(
    repeats: heads.Repeats, own: heads.Heads, which: list[int], read: np.ndarray, code: heads.TokenCode, words: Words,
    others: float, config: Config, rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Codes and heads whose answer is known, in the size of the model's own."""
    n, r = code.codes.shape
    model, seed = repeats.model, int(rng.integers(2**31))
    same = replace(own, weight=np.full(len(which), own.weight[0]))
    by_hand = heads.least_squares_heads(model, same, read, 12 * repeats.scale, rng)
    said, alone = repeats.spoken(by_hand, which[:1] * len(which)), repeats.spoken(by_hand.only([0]), which[:1])
    copier = heads.token_code(model, by_hand, read)
    yield {"arm": COPIERS, **static(copier), **heard(said), "copies more": (copier.copying - others) / (1 - others),
           "margin gained": float(np.median(said.margin) - np.median(alone.margin)),
           "gap": low_rank(model, read, rng)}  # fmt: skip
    circle, unit = (circuits.random_codes(n, d, seed) for d in (2, r))
    loud = unit * rng.uniform(0.6, 1.4, (n, 1))
    sparse = np.zeros((n, r))
    places = rng.permuted(np.tile(np.arange(r), (n, 1)), axis=1)[:, :3]
    np.put_along_axis(sparse, places, rng.choice([-1, 1], (n, 3)) * rng.uniform(0.7, 1.3, (n, 3)), axis=1)
    sparse += 0.02 * rng.standard_normal((n, r))
    for name, codes, readout in ((UNIT, unit, unit), (SPARSE, sparse, sparse)):
        yield {"arm": name, **static(heads.code_of(codes, readout.T), config)}
    for name, codes, readout in ((CIRCLE, circle, circle), (UNEQUAL, loud, unit)):
        yield {"arm": name, **static(heads.code_of(codes, readout.T))}
    yield {"arm": LABELS, "kinds": words.kinds(code.svd, permuted=True)}
    yield {"arm": KINDS, "kinds": words.kinds(words.planted_kinds(rng))}
    twins = words.planted_variants(r, rng)
    yield {"arm": TWINS, "variants": words.variants(heads.code_of(twins, twins.T))}
    crowd = circuits.random_codes(n, 24, seed)
    places = rng.integers(0, n, 400)
    yield {"arm": CROWD, **heard(heads.spoken_of(rng.uniform(24, 36, (400, 1)) * crowd[places] @ crowd.T, places))}


def low_rank(model: lms.LanguageModel, read: np.ndarray, rng: np.random.Generator) -> int:
    """The rank that `gap_rank` finds for a head of 32 dimensions of which 8 copy, gains 1 to 1/4, noise in all entries."""
    d = model.d_model
    frame = np.linalg.qr(rng.standard_normal((d, 32)))[0]
    value, output = np.zeros((d, 32)), np.zeros((32, d))
    value[:, :8], output[:] = frame[:, :8] * np.geomspace(1, 0.25, 8), frame.T
    value, output = (w + 0.002 * rng.standard_normal(w.shape) for w in (value, output))
    white = rng.standard_normal((len(read), d))
    return circuits.gap_rank(circuits.circuit_svd(white, value, output, white.T).values).rank
