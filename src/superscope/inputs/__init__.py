"""What goes in: densities, value laws, groups; and stratified sampling of it."""

from superscope.inputs.features import (
    AntiCorrelated,
    Constant,
    Correlated,
    ExactlyK,
    ExclusiveSets,
    Hierarchy,
    Levels,
    SignedUniform,
    SparseFeatures,
    Uniform,
    ValueLaw,
    logspace,
)
from superscope.inputs.strata import StratifiedPlan

__all__ = [
    "AntiCorrelated", "Constant", "Correlated", "ExactlyK", "ExclusiveSets", "Hierarchy", "Levels", "SignedUniform",
    "SparseFeatures", "StratifiedPlan", "Uniform", "ValueLaw", "logspace",
]  # fmt: skip
