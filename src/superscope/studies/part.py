"""A part of a large study: what one section measured."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from superscope.evidence.findings import Figure
from superscope.evidence.stats import Claim


@dataclass
class Part:
    """Claims, figures and tables of one section, and one sentence about it."""

    claims: list[Claim] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    summary: str = ""
