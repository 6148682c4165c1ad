"""Tokens per second of language-model training: the lean module (compiled, bf16) against plainer ways, interleaved in one
process.

python benchmarks/lm.py [--threads 2] [--seconds 20]

One layer, d_model 256, 1024 GELU neurons, vocabulary 4096, context 128, batches of 64 rows, AdamW. Ratios carry over; times do
not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch

from superscope.lms.model import backend
from superscope.lms.model.transformer import Shape, Transformer, initialise

SHAPE = Shape(d_model=256, d_mlp=1024, n_ctx=128)
ROWS = 64


def stepper(loss: Callable[[torch.Tensor], torch.Tensor], parameters: list[torch.Tensor], autocast: bool) -> Callable[[], None]:
    """One training step on random tokens."""
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    tokens = torch.randint(SHAPE.d_vocab, (ROWS, SHAPE.n_ctx + 1))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = loss(tokens)
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def contestants() -> dict[str, Callable[[], None]]:
    out = {}
    for name, compiled, autocast in (
        ("lean, compiled, bf16", True, True),
        ("lean, bf16", False, True),
        ("lean, float32", False, False),
    ):
        model = Transformer(SHAPE)
        initialise(model, 0)
        out[name] = stepper(torch.compile(model.loss) if compiled else model.loss, list(model.parameters()), autocast)
    hooked = backend.from_shape(SHAPE, dict(Transformer(SHAPE).state_dict())).train().requires_grad_(True)
    out["HookedTransformer, float32"] = stepper(
        lambda tokens: hooked(tokens[:, :-1], return_type="loss"), list(hooked.parameters()), False
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="per contestant")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = contestants()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():  # compile and warm up
        step()
        step()
    end = time.monotonic() + options.seconds * len(steps)
    while time.monotonic() < end:
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    rate = {name: ROWS * SHAPE.n_ctx / sorted(times)[len(times) // 2] for name, times in taken.items()}
    slowest = rate["HookedTransformer, float32"]
    for name, value in rate.items():
        print(f"{name:28} {value:9.0f} tokens/s  {value / slowest:5.1f}x")


if __name__ == "__main__":
    main()
