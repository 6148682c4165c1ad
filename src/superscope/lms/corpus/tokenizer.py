"""The tokenizer of the bundled models: byte-level BPE, 4096 entries, one digit at a time, runs of spaces kept together.

Byte-level means that any text can be written: what has no entry of its own falls back to bytes. It wraps a
`tokenizers.Tokenizer` (Hugging Face), which does the work; this module fixes the recipe and labels every entry with a
character class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tokenizers

BOS = "<|endoftext|>"

# Letters with one leading space, single digits, punctuation with one leading space, line ends, and runs of other white space
# but for the blank that belongs to the next word.
PATTERN = r" ?\p{L}[\p{L}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+|\n+|[^\S\n]+(?!\S)|\s"

CHAR_CLASSES = (
    "special",
    "space",
    "newline",
    "digit",
    "lower",
    "title",
    "upper",
    "mixed",
    "punctuation",
    "other_script",
    "bytes",
)


@dataclass(frozen=True)
class Tokenizer:
    """Text to ids and back. `inner` is a `tokenizers.Tokenizer`; `bos` the id that opens every row."""

    inner: tokenizers.Tokenizer
    bos: int

    @classmethod
    def read(cls, path: Path | str, bos: str = BOS) -> Tokenizer:
        """From a tokenizer.json; ValueError names the file when it is not one."""
        inner = read_inner(path)
        found = inner.token_to_id(bos)
        if found is None:
            raise ValueError(f"{path} has no token {bos!r}, which opens every row")
        return cls(inner, found)

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int = 4096) -> Tokenizer:
        """BPE on `texts` (the training split only): deterministic for the same texts."""
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers

        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(PATTERN), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[BOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
        return cls(inner, int(inner.token_to_id(BOS) or 0))

    def save(self, path: Path | str) -> None:
        self.inner.save(str(path), pretty=False)

    def __len__(self) -> int:
        return int(self.inner.get_vocab_size())

    @cached_property
    def digest(self) -> str:
        """sha256 of the tokenizer's JSON: equal exactly when two tokenizers are."""
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS."""
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str], size: int = 256) -> Iterator[Any]:
        """`tokenizers.Encoding` (ids, offsets) of each text in order."""
        for start in range(0, len(texts), size):
            yield from self.inner.encode_batch_fast(texts[start : start + size], add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.inner.decode([int(i) for i in ids], skip_special_tokens=False))

    @cached_property
    def pieces(self) -> list[str]:
        """The text of every id; ids that are part of a character show as the replacement character."""
        return [self.decode([i]) for i in range(len(self))]

    @cached_property
    def char_class(self) -> np.ndarray:
        """(vocabulary,) uint8 index into `CHAR_CLASSES` of every id."""
        return np.array([CHAR_CLASSES.index(_classify(p, i == self.bos)) for i, p in enumerate(self.pieces)], dtype=np.uint8)


def read_inner(path: Path | str) -> tokenizers.Tokenizer:
    """The `tokenizers.Tokenizer` of a tokenizer.json; ValueError names the file when it is not one."""
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from None


def _classify(piece: str, special: bool) -> str:
    body = piece.strip()
    if special:
        return "special"
    if not body:
        return "newline" if "\n" in piece else "space"
    if "\N{REPLACEMENT CHARACTER}" in body:
        return "bytes"
    if body.isdigit():
        return "digit"
    if not any(character.isalpha() for character in body):
        return "punctuation"
    if not body.isalpha():
        return "mixed"
    if max(body) > "\u024f":  # beyond Latin Extended-B
        return "other_script"
    if body.islower():
        return "lower"
    if body.isupper() and len(body) > 1:
        return "upper"
    return "title" if body[0].isupper() and (len(body) == 1 or body[1:].islower()) else "mixed"
