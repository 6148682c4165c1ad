"""Numbers about superposition. Every function takes W with trailing dims (hidden, feature): DataArray, NumPy or torch.

Each docstring gives the formula, its source, what it assumes, when it misleads and its null. This is the only list of
public names.
"""

from __future__ import annotations

from superscope.measure.weights import nulls, theory
from superscope.measure.weights.adversarial import analytic_direction, attack_increase, pgd_increase, vulnerability
from superscope.measure.weights.alignment import (
    BasisAlignment,
    activation_kurtosis,
    basis_alignment,
    basis_shares,
    participation_ratio,
    participation_ratio_null,
    weight_kurtosis,
)
from superscope.measure.weights.allocation import Allocation, best_allocation
from superscope.measure.weights.dimensionality import (
    capacity,
    dimensionality,
    dims_per_feature,
    features_recovered,
    features_represented,
    norm_capped_count,
    norms,
    represented,
    responses,
)
from superscope.measure.weights.geometry import (
    TMS_LEVELS,
    Component,
    classify,
    geometry,
    geometry_null,
    geometry_table,
    ideal,
    ideal_levels,
    ideals_of_size,
)
from superscope.measure.weights.hinges import hinge_floor, shared_hinges, spline_floor
from superscope.measure.weights.interference import (
    ActiveLoss,
    coherence,
    frame_potential,
    frame_potential_bound,
    interference_matrix,
    loss_by_active,
    superposition_of,
    welch_bound,
)
from superscope.measure.weights.motifs import Motifs, half_absolute_neurons, motifs
from superscope.measure.weights.neighbourly import faces, moment_curve, neighbourliness
from superscope.measure.weights.polysemanticity import features_per_neuron, lecomte_count, max_over_sum

__all__ = [
    "TMS_LEVELS", "ActiveLoss", "Allocation", "BasisAlignment", "Component", "Motifs", "activation_kurtosis",
    "analytic_direction", "attack_increase", "basis_alignment", "basis_shares",
    "best_allocation", "capacity", "classify", "coherence",
    "dimensionality", "dims_per_feature", "faces", "features_per_neuron", "features_recovered", "features_represented",
    "frame_potential", "frame_potential_bound", "geometry", "geometry_null", "geometry_table", "half_absolute_neurons",
    "hinge_floor", "ideal", "ideal_levels", "ideals_of_size", "interference_matrix", "lecomte_count", "loss_by_active",
    "max_over_sum", "moment_curve", "motifs", "neighbourliness", "norm_capped_count", "norms", "nulls",
    "participation_ratio", "participation_ratio_null", "pgd_increase", "represented", "responses", "shared_hinges",
    "spline_floor", "superposition_of", "theory", "vulnerability", "weight_kurtosis", "welch_bound",
]  # fmt: skip
