"""Rules: regions that an estimate must lie in, written as text before the result is known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_FORMS = "'>= x', '> x', '<= x', '< x', 'within [a, b]', 'equals x +- y', 'excludes x'"


@dataclass(frozen=True)
class Rule:
    """A region that an estimate must lie in, written as text before the result is known. Make it with `Rule.parse`."""

    text: str
    lo: float = -math.inf
    hi: float = math.inf
    lo_open: bool = False
    hi_open: bool = False
    excludes: float | None = None

    @classmethod
    def parse(cls, text: str) -> Rule:
        """'>= x', '> x', '<= x', '< x', 'within [a, b]', 'equals x +- y' (= within [x-y, x+y]), 'excludes x'."""
        if not isinstance(text, str):
            raise TypeError(f"rule {text!r}: expected text, one of {_FORMS}")
        flat = " ".join(text.split())
        if found := re.fullmatch(rf"(>=|>|<=|<) ?{_NUMBER}", flat):
            sign, x = found[1], float(found[2])
            return cls(flat, lo=x, lo_open=sign == ">") if sign[0] == ">" else cls(flat, hi=x, hi_open=sign == "<")
        if found := re.fullmatch(rf"within ?\[ ?{_NUMBER} ?, ?{_NUMBER} ?\]", flat):
            lo, hi = float(found[1]), float(found[2])
        elif found := re.fullmatch(rf"equals {_NUMBER} ?(?:\+-|\+/-|±) ?{_NUMBER}", flat):
            lo, hi = float(found[1]) - float(found[2]), float(found[1]) + float(found[2])
        elif found := re.fullmatch(rf"excludes {_NUMBER}", flat):
            return cls(flat, excludes=float(found[1]))
        else:
            raise ValueError(f"rule {text!r} is not understood: expected one of {_FORMS}")
        if lo > hi:
            raise ValueError(f"rule {text!r} is an empty region: its lower end {lo:g} is above its upper end {hi:g}")
        return cls(flat, lo=lo, hi=hi)

    def holds(self, value: float) -> bool:
        """Is this one value in the region? NaN never is."""
        if math.isnan(value):
            return False
        if self.excludes is not None:
            return value != self.excludes
        return self._above(value) and self._below(value)

    def position(self, low: float, high: float) -> str:
        """Where the interval [low, high] lies: "inside" the region, "outside" it, or "across" (NaN: "across")."""
        if math.isnan(low) or math.isnan(high):
            return "across"
        if low > high:
            raise ValueError(f"interval [{low}, {high}] has its ends the wrong way round")
        if self.excludes is not None:
            return "across" if low <= self.excludes <= high else "inside"
        if self._above(low) and self._below(high):
            return "inside"
        return "across" if self._above(high) and self._below(low) else "outside"

    @property
    def region(self) -> tuple[float, float, bool, bool, float | None]:
        """What the rule allows, whatever words say it."""
        return self.lo, self.hi, self.lo_open, self.hi_open, self.excludes

    @property
    def only_a_sign(self) -> bool:
        """Does it ask for a side alone, with no size of effect? Chance passes that with few replicates."""
        return self.excludes is not None or (self.lo == 0 and self.hi == math.inf) or (self.hi == 0 and self.lo == -math.inf)

    def _above(self, value: float) -> bool:
        return value > self.lo if self.lo_open else value >= self.lo

    def _below(self, value: float) -> bool:
        return value < self.hi if self.hi_open else value <= self.hi
