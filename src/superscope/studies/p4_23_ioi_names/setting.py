"""Arms, presets and words of 4.23."""

from __future__ import annotations

from dataclasses import dataclass

TRAINED, ORDER, FRAME, REST = "trained", "order exchanged", "other objects", "heard by all but the queries"
BUILT = "message built of the token"
SYMBOLIC, PERMUTED, ADDITIVE = "symbolic toy", "means of other names", "planted means"
SQUEEZED, HALVES = "names in eight directions", "means of other sentences"
LOUD, ILLUSION = "planted unread copy", "planted illusion"
SEARCH, MEANS, PROBE, RANDOM = "alignment search", "components of means", "probe", "random directions"
KEPT = 0.9  # of what the whole state does, that a subspace must do


@dataclass(frozen=True)
class Config:
    """Which models, and how finely."""

    model: str = "ioi-2l-mini"  # bundled model; its twins of other seeds are the replicates
    prompts: int = 300  # sentences of every exchange
    pairs: int = 1500  # interchanges with words as names
    read: int = 8  # sentences in which each word's mean state is taken
    directions: tuple[int, ...] = (2, 4, 8, 12, 16, 32)  # how many each frame may have
    compared: int = 8  # directions at which frames are compared
    steps: int = 80  # of alignment search
    starts: int = 1  # of alignment search; the best on fitted pairs is kept
    symbolic: int = 600  # steps of the two-layer toy; the one-layer one takes twice as many
    published: str = ""  # third rung

    def __post_init__(self) -> None:
        if self.prompts < 2 or self.pairs < 50 or min(self.read, self.steps, self.starts, self.symbolic) < 1:
            raise ValueError(
                f"prompts={self.prompts}, pairs={self.pairs}, read={self.read}, steps={self.steps}, starts={self.starts}, "
                f"symbolic={self.symbolic}: expected 2 prompts, 50 pairs and 1 of the others at least"
            )
        if not self.directions or min(*self.directions, self.compared) < 1:
            raise ValueError(f"directions={self.directions}, compared={self.compared}: expected one direction at least")


PRESETS = {
    "quick": Config(),
    "standard": Config(
        prompts=1000, pairs=2400, read=24, directions=(2, 4, 6, 8, 10, 12, 14, 16, 24, 32), steps=150, starts=2, symbolic=1500,
        published="SmolLM2-135M",
    ),
    "full": Config(
        prompts=4000, pairs=8000, read=60, directions=(*range(1, 33), 40, 48, 64), steps=600, starts=4, symbolic=4000,
        published="gpt2",
    ),
}  # fmt: skip
