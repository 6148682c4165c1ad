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
from dataclasses import dataclass

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


def drill(tokenizer: Tokenizer) -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    """What makes a row of drilled sentences: (generator, length) -> (length,) token ids, and whether each is determined.

    Determined are the indirect objects.

    Sentences follow each other after a line end, a blank, or BOS, so that each must find its own names among those of the
    sentences before it. In most of them (`SHARES`) any capitalised or any words of the vocabulary are the names, and a share of
    the other words, from none to all but the last, is drawn at random: with a few names and these frames alone, the answers are
    learnt by heart. Any words carry over to held-out names (.87 for .65 of the sentences) and cost text .04 nats.
    """
    pieces = [piece[1:] for piece in tokenizer.pieces if re.fullmatch(r" [A-Za-z][a-z]{2,}", piece)]
    spoken = set(re.findall(r"[A-Z]\w+", " ".join((*OPENINGS, *HELD_OUT_FRAMES))))
    capitals = sorted({piece for piece in pieces if piece.istitle()} - spoken - set(HELD_OUT_NAMES))
    lower = [piece for piece in pieces if piece.islower()]
    words = np.array(lower)  # choice() would convert a list at every draw
    between = [[], tokenizer.encode("\n"), [tokenizer.bos]]

    def row(rng: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        ids: list[int] = []
        answers: list[int] = []
        while len(ids) < length:
            separator = between[rng.integers(3)] if ids else []
            frame = _scrambled(_frame(rng), words, max(0.0, rng.uniform(-0.3, 1)), rng)
            kind = rng.random()
            pair = _pair(rng, NAMES if kind < SHARES[0] else capitals if kind < sum(SHARES) else lower, held_out=False)
            text, io, _ = _fill(frame, pair, bool(rng.integers(2)), rng)
            ids += separator + tokenizer.encode(f"{' ' if ids and not separator else ''}{text} {io}")
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
    rows, names, abba, used = [], [], [], []
    for number in range(count):
        pair = _pair(rng, HELD_OUT_NAMES, held_out=False) if held_names else _pair(rng, NAMES, held_out=True)
        used.append(frames[number // 2 % len(frames)])
        abba.append(number % 2 == 0)
        text, io, s = _fill(used[-1], pair, abba[-1], rng)
        rows.append([tokenizer.bos, *tokenizer.encode(text)])
        names.append([_single(tokenizer, io), _single(tokenizer, s)])
    tokens = np.full((count, max(map(len, rows))), tokenizer.bos, dtype=np.int64)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    io_ids, s_ids = np.array(names).T
    return Prompts(tokens, np.array([len(ids) - 1 for ids in rows]), io_ids, s_ids, np.array(abba), np.array(used))


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


def _fill(frame: str, pair: tuple[str, str], abba: bool, rng: np.random.Generator) -> tuple[str, str, str]:
    """The sentence up to its last word, the indirect object and the subject."""
    io, s = pair
    a, b = (io, s) if abba else (s, io)
    place, thing = (str(rng.choice(words)) for words in (PLACES, THINGS))
    return frame.format(A=a, B=b, S=s, place=place, thing=thing), io, s


def _single(tokenizer: Tokenizer, name: str) -> int:
    ids = tokenizer.encode(f" {name}")
    if len(ids) != 1:
        raise ValueError(f"the name {name!r} is {len(ids)} tokens of this vocabulary: indirect objects must be one")
    return ids[0]
