"""One TopK step against SAELens' own trainer: ratio of CPU seconds in one run, and both losses on one held-out batch.

    pip install 'sae-lens>=6.54,<7'
    python benchmarks/sae.py                        d = 256, 4,096 latents, batch 4,096, k = 32
    python benchmarks/sae.py --latents 2048 --steps 40

Both start from the same weights and see the same batches of a planted dictionary, in turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import sae_lens
import torch
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from superscope.recover import sae


def batches(d: int, size: int, features: int) -> list[Tensor]:
    """Twenty-four of `features` random directions on at once, scaled so that the mean squared norm is d."""
    g = torch.Generator().manual_seed(1)
    rows = torch.randn(features, d, generator=g)
    rows /= rows.norm(dim=1, keepdim=True)
    out = []
    for _ in range(9):
        on = torch.randint(0, features, (size, 24), generator=g)
        values = torch.rand(size, 24, generator=g) - 0.5
        out.append(torch.nn.functional.embedding_bag(on, rows, per_sample_weights=values, mode="sum"))
    scale = (d / (torch.cat(out) ** 2).sum(1).mean()).sqrt()
    return [scale * one for one in out]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("d", 256), ("latents", 4096), ("batch", 4096), ("k", 32), ("steps", 60)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    *data, held_out = batches(args.d, args.batch, 8 * args.d)

    theirs = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=args.d, d_sae=args.latents, k=args.k, decoder_init_norm=1.0))
    with torch.no_grad():
        theirs.W_enc.copy_(theirs.W_dec.T)
    start = {"W_dec": theirs.W_dec.detach().clone(), "W_enc": theirs.W_dec.detach().clone(), "b_dec": torch.zeros(args.d)}

    def provide() -> Iterator[Tensor]:
        while True:
            yield from data

    config = SAETrainerConfig(
        total_training_samples=args.steps * args.batch, train_batch_size_samples=args.batch, device="cpu", autocast=False,
        lr=1e-3, lr_end=1e-3,
        lr_scheduler_name="constant", lr_warm_up_steps=0, lr_decay_steps=0, adam_beta1=0.9, adam_beta2=0.999,
        n_restart_cycles=1, n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, dead_feature_window=1000,
        feature_sampling_window=2000, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    trainer = SAETrainer(cfg=config, sae=theirs, data_provider=provide())

    spent = {"SAELens": 0.0, "superscope": 0.0}
    source = sae.Samples(lambda step: data[step % len(data)], "planted")
    recipe = sae.Recipe(steps=args.steps, lr=1e-3, warmup=0, decay=0.0, clip=1.0)  # as SAELens clips
    pieces = 4
    for piece in range(1, pieces + 1):
        began = time.process_time()
        for step in range((piece - 1) * args.steps // pieces, piece * args.steps // pieces):
            trainer.step(data[step % len(data)])
            trainer.n_training_steps += 1
        spent["SAELens"] += time.process_time() - began
    began = time.process_time()
    (ours,) = sae.train(source, sae.TopK(width=args.latents, k=args.k), start=start, recipe=recipe)
    spent["superscope"] = time.process_time() - began

    with torch.no_grad():
        losses = {
            "SAELens": float(((theirs(held_out) - held_out) ** 2).sum(1).mean()),
            "superscope": float(((ours.sae(held_out) - held_out) ** 2).sum(1).mean()),
        }
    print(f"SAELens {sae_lens.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"d {args.d}, {args.latents} latents, batch {args.batch}, k {args.k}, {args.steps} steps")
    for name, seconds in spent.items():
        print(f"{name:12} {1000 * seconds / args.steps:7.0f} ms of CPU a step, held-out loss {losses[name]:.4f}")
    print(f"ratio {spent['SAELens'] / spent['superscope']:.2f}")


if __name__ == "__main__":
    main()
