"""Tables: rows that are held in a column, and a verdict in one word."""

import numpy as np
import pandas as pd

from superscope.evidence.tables import unfolded
from superscope.evidence.wording import said


def test_rows_in_a_column_are_unfolded():
    table = pd.DataFrame({
        "model": ["a", "a", "b"], "arm": ["one", "two", "one"], "each": [[{"x": 1}, {"x": 2}], np.nan, np.array([{"x": 3}])],
    })  # fmt: skip
    found = unfolded(table, "each")
    assert found.to_dict("list") == {"model": ["a", "a", "b"], "arm": ["one", "one", "one"], "x": [1, 2, 3]}
    assert unfolded(table, "none of it").empty


def test_verdicts_in_one_word():
    assert [said(one) for one in ("supported", "refuted", "undecided", "gate failed")] == [
        "yes",
        "no",
        "undecided",
        "undecided",
    ]
