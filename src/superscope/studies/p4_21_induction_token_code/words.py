"""4.21: tokens and their kinds: what the directions of a code stand for, and which tokens are neighbours in it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from superscope import lms
from superscope.evidence.resampling import max_statistic_null
from superscope.lms.corpus.tokenizer import CHAR_CLASSES
from superscope.lms.corpus.wordclasses import forms, word_classes
from superscope.measure.activations import heads
from superscope.measure.weights import circuits
from superscope.studies.p4_21_induction_token_code.setting import LEADING, MARGIN


class Words:
    """The vocabulary of a model, with what the shipped text says of it.

    Kinds of tokens: classes of words (by the company they keep, tokens seen 20 times), and spelling (script, case, blank).
    """

    def __init__(self, model: lms.LanguageModel, rng: np.random.Generator, draws: int) -> None:
        text = lms.corpus.sample(model.tokenizer)
        self.pieces = model.tokenizer.pieces
        self.count = np.bincount(text.tokens, minlength=len(self.pieces))[: len(self.pieces)]
        self.classes = word_classes(text)
        self.form = forms(model.tokenizer).of
        self.spelling = 2 * model.tokenizer.char_class.astype(int) + [piece.startswith(" ") for piece in self.pieces]
        self.rng, self.draws = rng, draws

    @cached_property
    def known(self) -> np.ndarray:
        """Tokens that have a word class."""
        return np.flatnonzero(self.classes >= 0)

    @cached_property
    def decile(self) -> np.ndarray:
        """(vocabulary,) decile of frequency, 9 the commonest."""
        return np.argsort(np.argsort(self.count, kind="stable"), kind="stable") * 10 // len(self.count)

    def permuted(self) -> np.ndarray:
        """(known,) an order of the known tokens in which each changes places with one of its decile of frequency."""
        out = np.arange(len(self.known))
        decile = self.decile[self.known]
        for one in np.unique(decile):
            here = np.flatnonzero(decile == one)
            out[here] = self.rng.permutation(here)
        return out

    def explained(self, scores: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
        """(labelling, direction) adjusted R^2 of the scores (vocabulary, direction) of known tokens, by class and by spelling;
        with the labels in another `order`."""
        order = np.arange(len(self.known)) if order is None else order
        labels = (self.classes[self.known], self.spelling[self.known])
        return np.array([circuits.between_classes(scores[self.known], label[order]) for label in labels])

    def kinds(self, code: circuits.CircuitSVD | np.ndarray, permuted: bool = False) -> float:
        """Mean over the leading directions of what the better labelling explains."""
        scores = code if isinstance(code, np.ndarray) else code.left[:, :LEADING]
        return float(self.explained(scores, self.permuted() if permuted else None).max(axis=0).mean())

    def planted_kinds(self, rng: np.random.Generator) -> np.ndarray:
        """(vocabulary, LEADING) directions of whose variance .3 to .6 is between word classes, and the rest is noise."""
        share = rng.uniform(0.3, 0.6, LEADING)
        means = rng.standard_normal((self.classes.max() + 2, LEADING))[self.classes]
        return means * share**0.5 + rng.standard_normal(means.shape) * (1 - share) ** 0.5

    def meaning(self, svd: circuits.CircuitSVD) -> list[dict[str, Any]]:
        """Per leading direction: what explains it, beside the largest over directions and labellings under permuted labels; how
        it follows frequency; and the tokens at its ends."""
        scores = svd.left[:, :LEADING]
        value = self.explained(scores)
        best = max_statistic_null(
            value.ravel(), lambda _: self.explained(scores, self.permuted()).ravel(), min(self.draws, 200)
        )
        frequent = np.log(self.count[self.known] + 1.0)
        out = []
        for j in range(scores.shape[1]):
            order = self.known[np.argsort(scores[self.known, j])]
            out.append(
                {
                    "direction": j + 1, "gain": float(svd.values[j]), "by word class": float(value[0, j]),
                    "by spelling": float(value[1, j]), "largest by chance": best.threshold,
                    "by frequency": float(np.corrcoef(scores[self.known, j], frequent)[0, 1] ** 2),
                    "one end": self.shown(order[:8]), "other end": self.shown(order[::-1][:8]),
                }
            )  # fmt: skip
        return out

    def shown(self, tokens: np.ndarray) -> str:
        """Tokens as text."""
        return " ".join(repr(self.pieces[token]) for token in tokens)

    def plane(self, svd: circuits.CircuitSVD, tokens: int = 400) -> list[dict[str, Any]]:
        """The commonest tokens in the first two directions of the circuit."""
        names = [name.replace("_", " ") for name in CHAR_CLASSES]
        common = np.argsort(-self.count, kind="stable")[:tokens]
        return [
            {
                "x": float(svd.left[t, 0] * svd.values[0]), "y": float(svd.left[t, 1] * svd.values[1]),
                "token": repr(self.pieces[t]), "kind": names[self.spelling[t] // 2] + ", blank" * int(self.spelling[t] % 2),
            }
            for t in common
        ]  # fmt: skip

    def variants(self, code: heads.TokenCode) -> float:
        """Of the tokens that share their form (letters without case and blank) with another: the share whose two largest logits
        are variants of one another."""
        several = np.bincount(self.form)[self.form] > 1
        top = circuits.top_two(code.codes, code.readout, code.offset)[several]
        return float((self.form[top[:, 0]] == self.form[top[:, 1]]).mean())

    def planted_variants(self, r: int, rng: np.random.Generator) -> np.ndarray:
        """(vocabulary, r) unit codes: variants of one form share .2 to .7 of their squared length."""
        n = len(self.form)
        shared, own = circuits.random_codes(self.form.max() + 1, r, int(rng.integers(2**31))), rng.standard_normal((n, r))
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        share = rng.uniform(0.2, 0.7, (n, 1))
        codes = share**0.5 * shared[self.form] + (1 - share) ** 0.5 * own
        return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True))

    def neighbours(self, code: heads.TokenCode) -> list[dict[str, Any]]:
        """Who stands next to whom: relations between a token and its strongest rival, beside those of permuted rivals; with
        examples of the closest."""
        found = circuits.leads(code.codes, code.readout, code.offset)
        known = self.known
        rival, other = found.rival[known], self.rng.permutation(found.rival[known])
        strip = np.array([piece.strip() for piece in self.pieces])
        near = known[np.argsort(found.relative[known])]

        def relations(to: np.ndarray) -> dict[str, np.ndarray]:
            form = self.form[known] == self.form[to]
            return {
                "the same but for the blank": form & (strip[known] == strip[to]),
                "the same but for case": form & (strip[known] != strip[to]),
                "of one word class": self.classes[known] == self.classes[to],
                "spelled alike (script, case, blank)": self.spelling[known] == self.spelling[to],
                "a more frequent one": self.count[to] > self.count[known],
            }

        chance = relations(other)
        out = [
            {"rival is": name, "share": float(here.mean()), "permuted rivals": float(chance[name].mean()),
             "closest": "; ".join(f"{self.pieces[t]!r} by {self.pieces[found.rival[t]]!r}"
                                  for t in near if here[np.searchsorted(known, t)])[:200]}
            for name, here in relations(rival).items()
        ]  # fmt: skip
        return out

    def deciles(self, code: heads.TokenCode) -> list[dict[str, Any]]:
        """Per decile of frequency: identification, margin, length of the code and crowding (mean squared cosine with others'
        codes times the dimension: 1 when isotropic)."""
        found = circuits.leads(code.codes, code.readout, code.offset)
        length = np.linalg.norm(code.codes, axis=1)
        unit = code.codes / np.maximum(length, 1e-30)[:, None]
        overlap = np.einsum("td,de,te->t", unit, unit.T @ unit / len(unit), unit) * unit.shape[1]
        ahead = (found.margin > 0) & (found.relative >= MARGIN)
        return [
            {
                "decile": one, "occurrences": float(np.median(self.count[here])), "identified": float(ahead[here].mean()),
                "median lead over the rival": float(np.median(found.relative[here])),
                "length": float(length[here].mean() / length.mean()), "crowding": float(overlap[here].mean()),
            }
            for one in range(10)
            for here in [self.decile == one]
        ]  # fmt: skip
