"""Indirect object identification (Wang et al. 2022): sentences whose last word is the name that was said once.

    When Mary and John went to the store, John gave a book to -> Mary

A *frame* is an opening, which says both names, perhaps a link, and an action, whose subject S is one of them; the indirect
object IO is the other. Frames in the order IO, S, S are "ABBA", in the order S, IO, S "BABA". The frames and names that are
held out occur in no drill, so a circuit can be told from a list learnt by heart. Every name is one token of the bundled
vocabulary, with the blank before it; a frame therefore never opens with a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from superscope.lms.corpus.tokenizer import Tokenizer

NAMES = (
    "Charles", "Dan", "David", "Henry", "James", "Jan", "John", "Mark", "May", "Paul", "Richard", "Rob", "Robert", "Thomas",
    "Will", "William",
)  # fmt: skip
HELD_OUT_NAMES = ("April", "Edward", "June", "Mary", "Peter", "Rich", "Simon", "Tom")
OPENINGS = (
    "When {A} and {B} went to the {place},", "Then {A} and {B} were at the {place}.",
    "After {A} and {B} came to the {place},", "While {A} and {B} were in the {place},", "One day {A} met {B} at the {place}.",
    "As {A} and {B} walked to the {place},", "Last night {A} sat with {B} in the {place}.",
    "Yesterday {A} and {B} worked at the {place} until noon.", "In the {place}, {A} and {B} waited.",
    "The friends {A} and {B} left the {place} together.", "At the {place}, {A} saw {B}.",
    "Because {A} and {B} lived near the {place},", "Before {A} and {B} reached the {place},",
    "Both {A} and {B} knew the {place}.", "Only {A} and {B} knew the way to the {place}.",
    "The old men {A} and {B} built a {place}.", "Here are {A} and {B}.", "For a year {A} and {B} had no {place}.",
    "Everybody saw {A} and {B} at the {place}.", "In that house lived {A} and {B}.",
    "The war had brought {A} and {B} to the {place}.", "A road led {A} and {B} from the {place} to the sea.",
    "Not far from the {place} {A} stood with {B}.", "The law says that {A} and {B} are to share the {place}.",
    "We know {A} and we know {B}.", "If {A} and {B} come to the {place},", "The work of {A} and {B} at the {place} was done.",
    "This is {A} and that is {B}.", "The lives of {A} and {B} began in the {place};",
    "Some days before, {A} had seen {B} near the {place};", "It was cold, but {A} and {B} stayed in the {place}",
    "All of this is known to {A} and {B} from the {place}:", "Among the people of the {place} were {A} and {B},",
    "They took {A} and {B} by the hand", "No one but {A} and {B} had been in the {place}",
)  # fmt: skip
LINKS = (
    "then", "at last", "as it seems", "in the end", "on the next day", "without a word", "to be sure", "of course",
    "after a long time", "with great care", "it is true that", "and so", "for this reason", "a little while after that",
    "and then", "and in the end", "and yet", "and with a smile", "and now", "but", "so", "while", "which is why",
)  # fmt: skip
ACTIONS = (
    "{S} gave {thing} to", "{S} decided to give {thing} to", "{S} handed {thing} to", "{S} sent {thing} to",
    "{S} showed {thing} to", "{S} wanted to sell {thing} to", "{S} brought {thing} to", "{S} said something to",
    "{S} passed {thing} to", "{S} had to return {thing} to", "{S} bought {thing} for", "{S} spoke of {thing} with",
    "{S} told everything to", "{S} was kind to", "{S} made {thing} for", "{S} read {thing} to", "{S} carried {thing} over to",
    "{S} left {thing} with", "{S} found {thing} and gave it to", "{S} took {thing} from", "{S} asked for {thing} from",
    "{S} opened the door and called to", "{S} held {thing} out to", "{S} owed {thing} to", "{S} paid a visit to",
    "{S} put a question to", "{S} made a promise to", "{S} drew a picture for", "{S} sold a horse to", "{S} wrote {thing} to",
    "{S} gave up the {place} to", "{S} sang a song for",
)  # fmt: skip
HELD_OUT_FRAMES = (
    "Long ago {A} and {B} argued at the {place}, and afterwards {S} threw {thing} to",
    "It is said that {A} and {B} danced in the {place} and that {S} lent {thing} to",
    "The story tells how {A} and {B} were alone at the {place} and how {S} offered {thing} to",
    "There was a quarrel between {A} and {B} near the {place}; later {S} wrote a note to",
)
PLACES = ("store", "garden", "school", "office", "station", "market", "house", "park", "river", "church", "city", "hall")
THINGS = ("a book", "a letter", "the ball", "a drink", "the key", "some bread", "a flower", "the ring", "the map", "a hat")
SHARES = (0.35, 0.4)
"""Shares of drilled sentences whose names are of NAMES and any capitalised words; in the rest they are any words at all."""
CELLS = {
    "trained frames, trained names": (False, False), "trained frames, held-out names": (False, True),
    "held-out frames, trained names": (True, False), "held-out frames, held-out names": (True, True),
}  # fmt: skip
"""Name of a cell -> (held-out frames?, held-out names?). Pairs of trained names are evaluated that no drill has."""


def pair_is_held_out(first: str, second: str) -> bool:
    """A fifth of the pairs of trained names, in either order, is never drilled together."""
    return first in NAMES and second in NAMES and (NAMES.index(first) + NAMES.index(second)) % 5 == 0


def words(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """(capitalised, lower-case) words of the vocabulary that are drilled as names: one token each, no held-out name."""
    pieces = [piece[1:] for piece in tokenizer.pieces if re.fullmatch(r" [A-Za-z][a-z]{2,}", piece)]
    spoken = set(re.findall(r"[A-Z]\w+", " ".join((*OPENINGS, *HELD_OUT_FRAMES))))
    capitals = sorted({piece for piece in pieces if piece.istitle()} - spoken - set(HELD_OUT_NAMES))
    return capitals, [piece for piece in pieces if piece.islower()]


def drill(tokenizer: Tokenizer) -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    """What makes a row of drilled sentences: (generator, length) -> (length,) token ids, and whether each is determined.

    Determined are the indirect objects.

    Sentences follow each other after a line end, a blank, or BOS, so that each must find its own names among those of the
    sentences before it. In most of them (`SHARES`) any capitalised or any words of the vocabulary are the names, and a share of
    the other words, from none to all but the last, is drawn at random: with a few names and these frames alone, the answers are
    learnt by heart. Any words carry over to held-out names (.87 for .65 of the sentences) and cost text .04 nats.
    """
    capitals, lower = words(tokenizer)
    fillers = np.array(lower)  # choice() would convert a list at every draw
    between = [[], tokenizer.encode("\n"), [tokenizer.bos]]

    def row(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        ids: list[int] = []
        answers: list[int] = []
        while len(ids) < length:
            separator = between[rng.integers(3)] if ids else []
            frame = _scrambled(_frame(rng), fillers, max(0.0, rng.uniform(-0.3, 1)), rng)
            kind = rng.random()
            pair = _pair(rng, NAMES if kind < SHARES[0] else capitals if kind < sum(SHARES) else lower, held_out=False)
            one = Sentence(*pair, bool(rng.integers(2)), frame, *_objects(rng))
            ids += separator + tokenizer.encode(f"{' ' if ids and not separator else ''}{one.text} {one.io}")
            answers.append(len(ids) - 1)
            ids += tokenizer.encode(".")
        return np.array(ids[:length]), np.isin(np.arange(length), answers)

    return row


@dataclass(frozen=True)
class Prompts:
    """Sentences up to the indirect object: rows that open with BOS and are padded with BOS on the right.

    tokens: (prompt, position) int64. last: (prompt,) position of the last word, whose prediction counts. io, s: (prompt,) ids
    of the two names. abba: (prompt,) bool, the order of the names. frame: (prompt,) the frame's text.
    """

    tokens: np.ndarray
    last: np.ndarray
    io: np.ndarray
    s: np.ndarray
    abba: np.ndarray
    frame: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


def prompts(tokenizer: Tokenizer, cell: str, count: int = 200, seed: int = 0) -> Prompts:
    """`count` prompts of a cell of `CELLS`, half of them ABBA, the frames in turn; ValueError for names of several tokens."""
    held_frames, held_names = CELLS[cell]
    rng = np.random.default_rng([seed, *cell.encode()])
    frames = HELD_OUT_FRAMES if held_frames else [_frame(rng) for _ in range(count)]
    sentences = []
    for number in range(count):
        pair = _pair(rng, HELD_OUT_NAMES, held_out=False) if held_names else _pair(rng, NAMES, held_out=True)
        sentences.append(Sentence(*pair, number % 2 == 0, frames[number // 2 % len(frames)], *_objects(rng)))
    return _prompts(tokenizer, sentences)


@dataclass(frozen=True)
class Sentence:
    """One sentence: its names, whether IO comes first, and what fills the frame."""

    io: str
    s: str
    abba: bool
    frame: str
    place: str
    thing: str

    @property
    def text(self) -> str:
        """Up to the word before the indirect object."""
        a, b = (self.io, self.s) if self.abba else (self.s, self.io)
        return self.frame.format(A=a, B=b, S=self.s, place=self.place, thing=self.thing)


def exchanges(tokenizer: Tokenizer, names: Sequence[str], count: int, seed: int = 0) -> dict[str, Prompts]:
    """`count` sentences as "base", and each again with the roles of its two names exchanged (after Wang et al. 2022).

    "name": the two names change places everywhere: S is the other name and stands where S stood. "order": they change places in
    the opening only: S is the same name and stands where IO stood. "both": the other name is S, and nothing has moved.
    "objects": the names stay, place and thing are others. Pairs of trained names are those that no drill has.
    """
    rng = np.random.default_rng([seed, 4, 23])
    base = []
    for number in range(count):
        io, s = _pair(rng, names, held_out=set(names) <= set(NAMES))
        base.append(Sentence(io, s, number % 2 == 0, _frame(rng), *_objects(rng)))
    out = {
        "base": base,
        "name": [replace(one, io=one.s, s=one.io) for one in base],
        "order": [replace(one, abba=not one.abba) for one in base],
        "both": [replace(one, io=one.s, s=one.io, abba=not one.abba) for one in base],
        "objects": [replace(one, place=place, thing=thing) for one in base for place, thing in [_objects(rng)]],
    }
    return {kind: _prompts(tokenizer, sentences) for kind, sentences in out.items()}


def interchanges(
    tokenizer: Tokenizer, groups: Sequence[Sequence[str]], count: int, seed: int = 0
) -> tuple[Prompts, Prompts, np.ndarray]:
    """(base, source, group): `count` sentences with names of the groups in turn, and for each another sentence of its group.

    The source's S is one of the two names of the base, in turn IO and S; its other name, order, frame and objects are its own.
    """
    rng = np.random.default_rng([seed, 4, 24])
    base, source, group = [], [], []
    for number in range(count):
        names = groups[number % len(groups)]
        io, s, other = (names[int(k)] for k in rng.choice(len(names), 3, replace=False))
        subject = (io, s)[number // len(groups) % 2]
        base.append(Sentence(io, s, bool(rng.integers(2)), _frame(rng), *_objects(rng)))
        source.append(Sentence(other, subject, bool(rng.integers(2)), _frame(rng), *_objects(rng)))
        group.append(number % len(groups))
    return _prompts(tokenizer, base), _prompts(tokenizer, source), np.array(group)


def _prompts(tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> Prompts:
    """Sentences as tokens, padded with BOS on the right."""
    rows = [[tokenizer.bos, *tokenizer.encode(one.text)] for one in sentences]
    tokens = np.full((len(rows), max(map(len, rows))), tokenizer.bos, dtype=np.int64)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    io, s = (np.array([_single(tokenizer, getattr(one, which)) for one in sentences]) for which in ("io", "s"))
    last = np.array([len(ids) - 1 for ids in rows])
    return Prompts(tokens, last, io, s, np.array([one.abba for one in sentences]), np.array([one.frame for one in sentences]))


def _frame(rng: np.random.Generator) -> str:
    """A drilled frame: an opening, perhaps a link, and an action."""
    opening, link, action = (str(rng.choice(parts)) for parts in (OPENINGS, LINKS, ACTIONS))
    return f"{opening} {link} {action}" if rng.random() < 0.7 else f"{opening} {action}"


def _pair(rng: np.random.Generator, names: Sequence[str], held_out: bool) -> tuple[str, str]:
    while True:
        first, second = (names[int(k)] for k in rng.choice(len(names), 2, replace=False))
        if pair_is_held_out(first, second) == held_out:
            return first, second


def _scrambled(frame: str, words: np.ndarray, share: float, rng: np.random.Generator) -> str:
    """The frame with a share of its words but the last drawn at random; the names stay where they are."""
    *inner, last = frame.split()
    fixed = ("{A}", "{B}", "{S}")
    new = [word if word.startswith(fixed) or rng.random() >= share else str(rng.choice(words)) for word in inner]
    return " ".join([*new, last])


def _objects(rng: np.random.Generator) -> tuple[str, str]:
    """A place and a thing."""
    return str(rng.choice(PLACES)), str(rng.choice(THINGS))


def _single(tokenizer: Tokenizer, name: str) -> int:
    ids = tokenizer.encode(f" {name}")
    if len(ids) != 1:
        raise ValueError(f"the name {name!r} is {len(ids)} tokens of this vocabulary: indirect objects must be one")
    return ids[0]
