"""4.17: the arms, their names, and the sizes of both kinds of networks."""

from __future__ import annotations

from dataclasses import dataclass

from superscope.toys import carriers
from superscope.toys.coders import Arm

ARMS = {"line": Arm(1, False), "line, late": Arm(1, True), "plane, late": Arm(2, True), "wide, late": Arm(3, True)}
STATES = ("code", "hidden 1", "hidden 2")
CHANCE = 0.25
SWAPS, FLIPS, DEALT = "random swaps", "bit flips", "patterns dealt anew"
BOX, MIXED = "random swaps, taught directions", "random swaps, taught a mixed box"
TASKS = {
    SWAPS: carriers.Task(3), FLIPS: carriers.Task(3, flips=True), BOX: carriers.Task(3, taught="bits"),
    MIXED: carriers.Task(3, taught="dealt"),
}  # fmt: skip
HAND, OTHER = "cells by hand, late", ", to a random other cell"
STEPS = 4  # of a recurrent network; states are looked at after half of them


@dataclass(frozen=True)
class Config:
    """Sizes of both kinds of networks, and their training."""

    bits: int = 3
    width: int = 32
    noise: float = 0.05
    steps: int = 4500
    lr: float = 4e-3
    swap_steps: int = 120
    seeds: int = 8
    restarts: int = 2  # of networks with a bottleneck: on a line three in ten fail
    recurrent_steps: int = 2000
    recurrent_lr: float = 5e-3

    def __post_init__(self) -> None:
        if self.bits != 3:  # the chance level and the cells' count are those of three bits
            raise ValueError(f"bits is {self.bits}: the rules of 4.17 are those of three bits; leave it at 3")
        for name in ("steps", "width", "seeds", "recurrent_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: nothing could be trained; set it to 1 or more")
