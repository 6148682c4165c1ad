"""Grids of toys trained at once."""

from superscope.sweep.recipe import Recipe
from superscope.sweep.run import SweepRun
from superscope.sweep.sweep import Sweep

__all__ = ["Recipe", "Sweep", "SweepRun"]
