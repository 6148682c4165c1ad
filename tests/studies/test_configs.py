"""Options that cannot be meant are refused before anything runs, with the value and what is expected."""

import pytest

from superscope.studies import (
    p4_30_two_layer_disambiguation,
    p4_31_carrying_neurons,
    p4_32_reverse_engineered,
    p4_33_adversarial,
    p4_35_probe_battery,
    p4_36_probe_or_neuron,
)


@pytest.mark.parametrize(
    ("study", "option"),
    [
        (p4_30_two_layer_disambiguation, {"share": 0.0}),
        (p4_30_two_layer_disambiguation, {"contexts": 0}),
        (p4_31_carrying_neurons, {"rows": -3}),
        (p4_31_carrying_neurons, {"fit": 10}),
        (p4_32_reverse_engineered, {"test": 5}),
        (p4_33_adversarial, {"ways": 0}),
        (p4_35_probe_battery, {"rows": -3}),
        (p4_35_probe_battery, {"judge": 20}),
        (p4_36_probe_or_neuron, {"tokens": 0}),
    ],
)
def test_what_cannot_be_meant_is_refused(study, option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}={value}.*expected"):
        study.Config(**option)
    for preset in study.PRESETS.values():
        study.Config(**vars(preset))
