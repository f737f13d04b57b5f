"""Trains the verifier on fresh renders of the whole grammar and prints its accuracy on held-out ones.

    $(tools/env) tools/train/verifier.py --work DIR [--seconds 1500] [--threads 1] [--seed 17]
        [--samples 24576] [--smoke]

It needs the autoencoder, since half of its pictures pass through it. It knows the combinations held out from
the denoiser; held out from the verifier are the pictures and prompts of another seed.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glint_train.augment import decoded, distort, draw, render
from glint_train.autoencoder import Autoencoder, load_autoencoder
from glint_train.grammar import Grammar
from glint_train.judge import Judge
from glint_train.precision import autocast
from glint_train.run import (
    Clock,
    begin,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    to_images,
    training_parser,
)
from glint_train.scorer import make_verifier
from glint_train.verifier import Reading, Slot, Verifier, window
from glint_train.work import trained

BATCH, PROMPTS, PEAK_RATE, WARMUP = 48, 96, 2e-3, 40


def entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean cross-entropy over the rows that want something."""
    kept = wanted >= 0
    return F.cross_entropy(logits[kept], wanted[kept]) if bool(kept.any()) else logits.sum() * 0.0


def slot_loss(model: Verifier, slot: Slot, wanted: Tensor) -> Tensor:
    """`wanted` [B, 3]: object, colour, size; -1 counts nothing."""
    objects, colours, sizes = wanted.unbind(1)
    return (
        entropy(model.object_logits(slot.vector), objects)
        + entropy(slot.colour, colours)
        + entropy(slot.size, sizes)
    )


def slots_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Object, colour and size of both slots from the columns of `draw`'s labels: [B, 3] each."""
    return labels[:, [2, 4, 6]], labels[:, [3, 5, 7]]


def picture_loss(model: Verifier, images: Tensor, labels: Tensor) -> Tensor:
    """Objects in the windows that hold one, layout and background of the whole."""
    layout, (first, second) = labels[:, 0], slots_of(labels)
    alone, beside, stacked = (images[layout == kind] for kind in range(3))
    windows = [alone, *(window(beside, side) for side in ("left", "right"))]
    windows += [window(stacked, side) for side in ("upper", "lower")]
    wanted = [first[layout == 0]] + [slot[layout == kind] for kind in (1, 2) for slot in (first, second)]
    slot = model.picture.heads(model.picture.encoder(torch.cat(windows)))
    shown, background = model.picture.scene_heads(model.picture.scene(images))
    return (
        slot_loss(model, slot, torch.cat(wanted)) + entropy(shown, layout) + entropy(background, labels[:, 1])
    )


def prompt_loss(model: Verifier, asked: Reading, labels: Tensor) -> Tensor:
    """What the prompts ask for, both slots."""
    first, second = slots_of(labels)
    scene = entropy(asked.layout, labels[:, 0]) + entropy(asked.background, labels[:, 1])
    return slot_loss(model, asked.first, first) + slot_loss(model, asked.second, second) + scene


@torch.no_grad()
def report(model: Verifier, coder: Autoencoder, count: int, seed: int) -> None:
    """Prints how often the judge finds everything asked for in held-out renders, plain and autoencoded."""
    scenes, ids, labels = draw(count, seed)
    images, judge = render(scenes, seed), Judge(model.eval(), Grammar())
    for name, shown in (
        ("renders", images),
        ("decoded", decoded(images, coder, torch.Generator().manual_seed(seed))),
    ):
        verdicts = judge(shown.numpy(), scenes, ids)
        kinds: dict[str, list[bool]] = {}
        for verdict in verdicts:
            for check, right in verdict.checks.items():
                kinds.setdefault(check.split(" ")[0], []).append(right)
        shares = ", ".join(f"{kind} {sum(values) / len(values):.1%}" for kind, values in kinds.items())
        strict = sum(verdict.strict for verdict in verdicts) / count
        print(f"held-out {name} ({count}): everything asked for {strict:.1%}, {shares}", flush=True)
    asked = model.prompt(ids)
    exact = (asked.layout.argmax(-1) == labels[:, 0]) & (asked.background.argmax(-1) == labels[:, 1])
    for slot, wanted in zip((asked.first, asked.second), slots_of(labels)):
        found = torch.stack(
            [model.object_logits(slot.vector).argmax(-1), slot.colour.argmax(-1), slot.size.argmax(-1)]
        )
        exact &= ((found.T == wanted) | (wanted < 0)).all(1)
    print(f"held-out prompts: everything right {float(exact.float().mean()):.1%}", flush=True)
    model.train()


class Pool:
    """Pictures with labels, every second one as the autoencoder draws it, and prompts with labels."""

    def __init__(self, samples: int, seed: int, coder: Autoencoder) -> None:
        scenes, _, self.labels = draw(samples, seed)
        self.images = render(scenes, seed)
        self.images[::2] = decoded(self.images[::2], coder, torch.Generator().manual_seed(seed), noise=0.3)
        _, self.ids, self.asked = draw(2 * samples, seed + 1)

    def loss(self, model: Verifier, seed: int, step: int, generator: torch.Generator) -> Tensor:
        """The loss of both sides on pictures and prompts drawn by (seed, step)."""
        rng = np.random.default_rng([seed, step])
        shown, asked = rng.integers(len(self.images), size=BATCH), rng.integers(len(self.ids), size=PROMPTS)
        pictures = distort(to_images(self.images[shown].numpy()), generator)
        with autocast():
            loss = picture_loss(model, pictures, self.labels[shown])
            return loss + prompt_loss(model, model.prompt(self.ids[asked]), self.asked[asked])


def main() -> None:
    parser = training_parser(__doc__, seconds=1500, seed=17)
    parser.add_argument("--samples", type=int, default=24576)
    options = begin(parser)
    coder, model = load_autoencoder(trained(options.work, "autoencoder")), make_verifier(Grammar()).train()
    pool = Pool(96 if options.smoke else options.samples, options.seed, coder)
    path, clock, step = options.work / "verifier.pt", Clock(options.seconds), 0
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, clock = state["step"], Clock(clock.budget, spent=state["elapsed"])
    generator, saved, total = torch.Generator().manual_seed(options.seed + step), clock.elapsed, 0.0

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        save_checkpoint(path, state | {"step": step, "elapsed": clock.elapsed})

    while clock.progress < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK_RATE, step, WARMUP, clock.progress)
        optimizer.zero_grad(set_to_none=True)
        loss = pool.loss(model, options.seed, step, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step, total = step + 1, total + float(loss.detach())
        if step % 100 == 0:
            print(f"step {step} {clock.elapsed:.0f} s loss {total / 100:.3f}", flush=True)
            total = 0.0
        if step % 500 == 0:
            report(model, coder, 256, options.seed + 2000)
        if clock.elapsed - saved > 60:
            saved = clock.elapsed
            save()
    save()
    report(model, coder, 16 if options.smoke else 1024, options.seed + 1000)
    print("done")


if __name__ == "__main__":
    main()
