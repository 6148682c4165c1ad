"""The toy models, and what each is asked to compute."""

from superscope.toys.module import ModuleToy
from superscope.toys.targets import TARGETS, Target, get_target
from superscope.toys.two_layer import AbsoluteValue, Bottleneck, TwoLayer

__all__ = ["TARGETS", "AbsoluteValue", "Bottleneck", "ModuleToy", "Target", "TwoLayer", "get_target"]
