"""4.21: what can be varied, and the names of the arms."""

from __future__ import annotations

from dataclasses import dataclass

TRAINED, ONE, INIT, SHUFFLED = "induction heads", "best head alone", "initial heads", "shuffled W_V"
PARTNERS, COPIERS, RANDOM = "partners shuffled", "copying heads by hand", "random circuit"
CIRCLE, UNIT, UNEQUAL, SPARSE = "random codes on a circle", "random unit codes", "random unequal codes", "sparse codes"
GAINS, FITTED = "least squares, trained gains", "fitted to identify"
LABELS, KINDS, TWINS, CROWD = "permuted within frequency", "planted kinds", "planted variants", "crowded by hand"
MARGIN, NOISE, LEADING = 0.1, 0.5, 8  # of a logit's lead over the mean; of the codes' spread; directions whose meaning is asked


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "attn-only-2l-mini"  # bundled model; its twins of other seeds are the replicates
    contexts: int = 4  # random contexts in which every token is read
    draws: int = 200  # random circuits, and permutations of labels
    period: int = 40  # period of the repeated random tokens
    rows: int = 12  # rows of them
    steps: int = 150  # of the map fitted to identify
    points: int = 7  # truncations drawn
    published: str = ""  # a published model for the third rung, such as "attn-only-2l"
