"""Options that cannot be meant are refused before anything runs, with the value and what is expected."""

import pytest

from superscope.studies import (
    p4_30_two_layer_disambiguation,
    p4_31_carrying_neurons,
    p4_32_reverse_engineered,
    p4_33_adversarial,
    p4_35_probe_battery,
    p4_36_probe_or_neuron,
    p4_37_solu_interpretable,
    p4_38_polysemanticity_metrics,
    p4_41_gelu_or_relu,
    p4_42_very_wide,
    p4_43_t5_shape,
    p4_44_widen_and_finetune,
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
        (p4_37_solu_interpretable, {"rows": -3}),
        (p4_38_polysemanticity_metrics, {"planted": 0}),
        (p4_41_gelu_or_relu, {"levelled": 0}),
        (p4_42_very_wide, {"steps": 0}),
        (p4_43_t5_shape, {"sample": 0}),
        (p4_44_widen_and_finetune, {"k": 1000}),
    ],
)
def test_what_cannot_be_meant_is_refused(study, option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}={value}.*expected"):
        study.Config(**option)
    for preset in study.PRESETS.values():
        study.Config(**vars(preset))
