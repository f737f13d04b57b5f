"""Stage 4: train the verifier on fresh renders of the whole grammar and print its own accuracy on held-out ones.

    python tools/train/verifier.py --work DIR [--seconds 900] [--threads 1] [--seed 17] [--samples 24576] [--smoke]

It needs the autoencoder, since half of its pictures pass through it. It knows the combinations that are held out from the
denoiser; held out from the verifier are the pictures and prompts of another seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiser import autocast
from glint_train.augment import decoded, distort, draw
from glint_train.autoencoder import Autoencoder
from glint_train.grammar import Grammar
from glint_train.layout import Labeller
from glint_train.run import Clock, learning_rate, load_checkpoint, save_checkpoint, shuffled_batches, to_images
from glint_train.verifier import Reading, Verifier
from glint_train.words import WordTokenizer, build_vocabulary

BATCH, PEAK_RATE, WARMUP = 32, 2e-3, 40


def make_verifier() -> Verifier:
    """The verifier of the grammar, untrained."""
    grammar = Grammar()
    labeller = Labeller(grammar)
    return Verifier(WordTokenizer(build_vocabulary(grammar)).size, len(labeller.names), len(labeller.colours))


def targets(labels: Tensor) -> dict[str, Tensor]:
    """The columns of `draw`'s labels by name."""
    names = ("layout", "background", "object0", "object1", "colour0", "colour1", "size0", "size1")
    return dict(zip(names, labels.unbind(1)))


def outputs(model: Verifier, reading: Reading) -> dict[str, Tensor]:
    """Logits by the names of `targets`."""
    made = {"layout": reading.layout, "background": reading.background}
    for number, slot in enumerate((reading.first, reading.second)):
        made |= {
            f"object{number}": model.object_logits(slot.vector),
            f"colour{number}": slot.colour,
            f"size{number}": slot.size,
        }
    return made


def loss_of(model: Verifier, reading: Reading, labels: Tensor) -> Tensor:
    """Cross-entropies of all heads; empty slots count nothing."""
    wanted, total = targets(labels), torch.zeros(())
    for name, logits in outputs(model, reading).items():
        if bool((wanted[name] >= 0).any()):
            total = total + F.cross_entropy(logits, wanted[name], ignore_index=-1)
    return total


@torch.no_grad()
def accuracy(model: Verifier, images: Tensor, ids: Tensor, labels: Tensor) -> dict[str, float]:
    """Shares of right answers: pictures read in the layout they show, prompts, and scenes with everything right."""
    model.eval()
    right: dict[str, list[Tensor]] = {}
    for start in range(0, len(images), 64):
        part = slice(start, start + 64)
        wanted = targets(labels[part])
        layout = model.picture(images[part], torch.zeros_like(wanted["layout"])).layout.argmax(-1)
        for side, reading in (("picture", model.picture(images[part], layout)), ("prompt", model.prompt(ids[part]))):
            every = torch.ones(len(layout), dtype=torch.bool)
            for name, logits in outputs(model, reading).items():
                used = wanted[name] >= 0
                hit = logits.argmax(-1) == wanted[name]
                every &= hit | ~used
                right.setdefault(f"{side} {name.rstrip('01')}", []).append(hit[used])
            right.setdefault(f"{side} all", []).append(every)
    model.train()
    return {name: float(torch.cat(parts).float().mean()) for name, parts in right.items()}


def make_pool(options: argparse.Namespace, coder: Autoencoder) -> tuple[Tensor, Tensor, Tensor]:
    """Training pictures, every second one as the autoencoder draws it."""
    images, ids, labels = draw(48 if options.smoke else options.samples, options.seed)
    images[::2] = decoded(images[::2], coder, torch.Generator().manual_seed(options.seed), noise=0.3)
    return images, ids, labels


def report(model: Verifier, coder: Autoencoder, count: int, seed: int) -> None:
    """Prints the accuracy on renders and on the same ones through the autoencoder."""
    images, ids, labels = draw(count, seed)
    for name, shown in (("renders", images), ("decoded", decoded(images, coder, torch.Generator().manual_seed(seed)))):
        found = accuracy(model, to_images(shown.numpy()), ids, labels)
        print(
            f"held-out {name} ({count}): " + ", ".join(f"{key} {value:.1%}" for key, value in found.items()), flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--samples", type=int, default=24576)
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    coder = Autoencoder().eval()
    state = load_checkpoint(options.work / "autoencoder.pt")
    if state is None:
        raise SystemExit("train the autoencoder first")
    coder.load_state_dict(state["model"])
    images, ids, labels = make_pool(options, coder)
    model, path, step, clock = (
        make_verifier(),
        options.work / "verifier.pt",
        0,
        Clock(4.0 if options.smoke else options.seconds),
    )
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, clock = state["step"], Clock(clock.budget, spent=state["elapsed"])
    generator, saved, total = torch.Generator().manual_seed(options.seed + step), clock.elapsed, 0.0

    def save() -> None:
        save_checkpoint(
            path,
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "elapsed": clock.elapsed},
        )

    for indices in shuffled_batches(len(images), BATCH, options.seed, step):
        if clock.progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK_RATE, step, WARMUP, clock.progress)
        optimizer.zero_grad(set_to_none=True)
        pictures = distort(to_images(images[indices].numpy()), generator)
        with autocast():
            shown, asked = model.picture(pictures, labels[indices][:, 0]), model.prompt(ids[indices])
        loss = loss_of(model, shown, labels[indices]) + loss_of(model, asked, labels[indices])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        step, total = step + 1, total + float(loss.detach())
        if step % 100 == 0:
            print(f"step {step} {clock.elapsed:.0f} s loss {total / 100:.3f}", flush=True)
            total = 0.0
        if clock.elapsed - saved > 60:
            saved = clock.elapsed
            save()
    save()
    report(model, coder, 16 if options.smoke else 1024, options.seed + 1000)
    print("done")


if __name__ == "__main__":
    main()
