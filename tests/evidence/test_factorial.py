"""Interaction terms of planted effects, and the power of equivalence against the textbook."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from superscope.evidence import stats
from superscope.evidence.rule import Rule

RNG = np.random.default_rng


def cells(interaction: float, n: int = 40):
    """Main effects 1 and 2 of unequal strength in every document, noise that all four cells of a document share, and own."""
    rng = RNG(0)
    common, strength = 3 * rng.standard_normal(n), rng.uniform(0.5, 1.5, n)
    noise = 0.2 * rng.standard_normal((4, n))
    return np.array([common + (3 + interaction) * strength, common + strength, common + 2 * strength, common]) + noise


def test_effects_that_add_up_do_not_interact():
    assert stats.interaction(*cells(0.0), unit="documents").against(Rule.parse("within [-0.2, 0.2]")) == "inside"


def test_a_planted_interaction_is_found_through_the_documents_differences():
    found = stats.interaction(*cells(0.5), unit="documents")
    assert found.value == pytest.approx(0.5, abs=0.15)
    assert found.against(Rule.parse("> 0.2")) == "inside"


def test_few_replicates_are_asked_one_by_one():
    found = stats.interaction([3, 3, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0])
    assert found.replicates == (1, 1, -1)
    assert found.against(Rule.parse("> 0.5")) == "across"


def test_cells_must_match():
    with pytest.raises(ValueError, match="one number per replicate"):
        stats.interaction([1, 2], [1], [1, 2], [1, 2])


@pytest.mark.parametrize(("sd", "expected"), [(0.1, 0.52), (0.3, 0.0), (0.03, 1.0)])
def test_power_is_that_of_two_one_sided_tests(sd, expected):
    """n = 30, margin .05: 2 Phi(m / se - t) - 1."""
    values = norm.ppf((np.arange(30) + 0.5) / 30) * sd + 7
    values = (values - values.mean()) / values.std(ddof=1) * sd + 7
    found = stats.equivalence(values, 0.05)
    assert found.power == pytest.approx(expected, abs=0.05)
    assert found.wrong < 0.045
    assert found.sees == pytest.approx(1 if sd < 0.05 else norm.cdf(0.05 / (sd / 30**0.5) - 2.045), abs=0.06)


def test_three_replicates():
    assert stats.equivalence([0.0, 0.01, -0.01], 0.05).power == 1
    assert stats.equivalence([0.0, 0.1, -0.1], 0.05).power < 0.1
    assert "is seen in" in str(stats.equivalence([0.0, 0.01, -0.01], 0.05))


def test_margins_and_samples_must_make_sense():
    with pytest.raises(ValueError, match="margin=0"):
        stats.equivalence([1.0, 2.0], 0)
    with pytest.raises(ValueError, match="at least two"):
        stats.equivalence([1.0], 0.1)
