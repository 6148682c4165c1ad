"""The statistics a study may use: estimates with intervals, permutation tests, and claims that are no row of a table."""

from superscope.evidence.claim import Arm, Claim, claim
from superscope.evidence.estimate import Estimate, estimate, estimate_difference, estimate_ratio, exact, fraction
from superscope.evidence.factorial import Equivalence, equivalence, interaction
from superscope.evidence.resampling import Maximum, NullTest, max_statistic_null, permutation_test
from superscope.evidence.rule import Rule

__all__ = [
    "Arm", "Claim", "Equivalence", "Estimate", "Maximum", "NullTest", "Rule", "claim", "equivalence", "estimate",
    "estimate_difference", "estimate_ratio", "exact", "fraction", "interaction", "max_statistic_null", "permutation_test",
]  # fmt: skip
