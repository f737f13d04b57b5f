"""Measures what a run has in memory at most: as it is, with a limit, and with weights freed immediately.

    python tools/bench/memory.py PROGRAM [FOLDER]

Makes a bundle in FOLDER (default: a temporary one) whose weights are random and as large as those of a real
model's parts: a text encoder of 480 MB, a denoiser of 960 MB, a decoder of 190 MB. Prints a table for
docs/embedding.md. "Peak" is the resident memory of the whole process, compared with that of a run
of the bundled emoji-flow.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import nn

WIDTH, DEPTHS = 2048, {"text_encoder": 28, "denoiser": 56, "vae_decoder": 11}  # 16.8 MB a layer
CHANNELS, SIDE, WORDS, LENGTH = 4, 16, 8, 4


class Stack(nn.Module):
    """So many layers of WIDTH x WIDTH, one after the other."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + 0.1 * torch.tanh(layer(x))
        return x


class TextEncoder(Stack):
    def __init__(self) -> None:
        super().__init__(DEPTHS["text_encoder"])
        self.words = nn.Embedding(WORDS, WIDTH)

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = super().forward(self.words(ids))
        return tokens, tokens.mean(1)


class Denoiser(Stack):
    def __init__(self) -> None:
        super().__init__(DEPTHS["denoiser"])
        self.into, self.out = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, CHANNELS)

    def forward(self, latents: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        x = self.into(latents.flatten(2).transpose(1, 2)) + tokens.mean(1, True) + time[:, None, None]
        return self.out(super().forward(x)).transpose(1, 2).reshape(latents.shape)


class Decoder(Stack):
    def __init__(self) -> None:
        super().__init__(DEPTHS["vae_decoder"])
        self.into, self.out = nn.Linear(CHANNELS, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        x = super().forward(self.into(latents.flatten(2).transpose(1, 2)))
        return self.out(x).transpose(1, 2).reshape(latents.shape[0], 3, latents.shape[2], latents.shape[3])


def write_bundle(folder: Path) -> None:
    torch.manual_seed(0)
    tokens = torch.zeros(1, LENGTH, WIDTH)
    latents = torch.zeros(1, CHANNELS, SIDE, SIDE)
    parts = {
        "text_encoder": (TextEncoder(), (torch.zeros(1, LENGTH, dtype=torch.long),), ["ids"]),
        "denoiser": (Denoiser(), (latents, torch.zeros(1), tokens), ["latents", "time", "tokens"]),
        "vae_decoder": (Decoder(), (latents,), ["latents"]),
    }
    components = {}
    for name, (module, example, inputs) in parts.items():
        with torch.no_grad():
            torch.jit.trace(module.eval(), example, check_trace=False).save(str(folder / f"{name}.pt"))
        components[name] = {"file": f"{name}.pt", "backend": "torchscript", "inputs": inputs}
    components["denoiser"]["time"] = "unit"
    words = {word: i + 2 for i, word in enumerate(("red", "blue", "star"))}
    tokenizer = {"version": 1, "type": "words", "pad": 0, "unknown": 1, "max_tokens": LENGTH, "words": words}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    components["tokenizer"] = {"file": "tokenizer.json", "backend": "words"}
    for component in components.values():
        component["sha256"] = hashlib.sha256((folder / component["file"]).read_bytes()).hexdigest()
    latent = {"channels": CHANNELS, "height": SIDE, "width": SIDE, "spatial_scale": 1}
    manifest = {
        "format": 1,
        "name": "large-parts",
        "family": "emoji",
        "parameterization": "velocity",
        "schedule": {"kind": "flow", "shift": 1.0},
        "latent": latent,
        "components": components,
    }
    (folder / "model.json").write_text(json.dumps(manifest))


# A process begins with the peak of the one that it was forked from: this one is small.
LAUNCHER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)
sys.exit(status != 0)
"""


def measured(program: str, model: str, picture: Path, *options: str) -> tuple[float, float, bytes]:
    """Peak MiB and CPU seconds of a run, and the picture's pixels without what is written beside them."""
    command = [sys.executable, "-S", "-c", LAUNCHER, program, "generate", "red star", "--model", model]
    command += ["--steps", "4", "--threads", "1", "--quiet", "--trust", "code", "-o", str(picture), *options]
    peak, cpu = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(peak), float(cpu), Image.open(picture).tobytes()


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary)
        picture = Path(temporary) / "picture.png"
        if not (folder / "model.json").is_file():
            write_bundle(folder)
        idle = measured(sys.argv[1], "emoji-flow", picture)[0]
        print("| options | peak MiB | above emoji-flow's | CPU s |\n|---|---|---|---|")
        pictures = set()
        for options in ((), ("--memory-limit", "960"), ("--free-params-immediately",)):
            runs = sorted(measured(sys.argv[1], str(folder), picture, *options) for _ in range(3))
            peak, cpu, _ = runs[1]
            pictures |= {pixels for _, _, pixels in runs}
            named = f"`{' '.join(options)}`" if options else "none"
            print(f"| {named} | {peak:.0f} | {peak - idle:.0f} | {cpu:.1f} |", flush=True)
        if len(pictures) != 1:
            sys.exit("the pictures differ")


if __name__ == "__main__":
    main()
