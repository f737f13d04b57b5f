"""Whole runs of diffusers' pipelines on the tiny models with what a run may change about its prompts.

    python tools/golden/prompt_options.py [FOLDER]      (default: tests/data/families)

Per family, options.json: the cases, each with the options as the library writes them; options.safetensors:
noise and final latents, in float64 as in families.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from families import Case, noise_of, run
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved

# The library's options, and how it calls what diffusers has under another name.
RENAMED = {
    "negative_2": "negative_prompt_2",
    "negative_3": "negative_prompt_3",
    "text_length": "max_sequence_length",
    "crop": "crops_coords_top_left",
    "negative_crop": "negative_crops_coords_top_left",
}
SECOND, THIRD = "red apple", "two blue hearts"
CASES: dict[str, dict[str, dict[str, str | int]]] = {
    "sdxl": {
        "second": {"prompt_2": SECOND},
        "seconds": {"prompt_2": SECOND, "negative_2": THIRD},
        "skip-1": {"clip_skip": 1},
        "skip-2": {"clip_skip": 2, "prompt_2": SECOND},
        "sizes": {"original_size": "640x512", "crop": "48,16", "target_size": "40x24"},
        "negative-sizes": {"negative_original_size": "512x384", "negative_target_size": "64x48",
                           "negative_crop": "8,0"},
        "all-sizes": {"original_size": "96x80", "negative_original_size": "32x16",
                      "negative_target_size": "24x40"},
    },
    "sd3": {
        "second": {"prompt_2": SECOND},
        "third": {"prompt_3": THIRD, "text_length": 40},
        "all": {"prompt_2": SECOND, "prompt_3": THIRD, "negative_2": SECOND, "negative_3": THIRD},
        "skip-1": {"clip_skip": 1},
        "short": {"text_length": 16},
        "long": {"text_length": 300, "clip_skip": 2},
    },
    "flux": {
        "second": {"prompt_2": SECOND},
        "short": {"text_length": 24},
        "both": {"prompt_2": SECOND, "text_length": 77},
    },
    "wan": {"short": {"text_length": 12}, "middle": {"text_length": 226}},
}  # fmt: skip
LENGTHS = {"sd3": 256, "flux": 512, "wan": 512}


def base(family: str, name: str) -> Case:
    if family == "wan":
        return Case(name, 4, "unipc", 5.0, 32, 48, frames=5, shift=3.0)
    solver = "euler" if family == "sdxl" else "flow-euler"
    guidance = {"sdxl": 5.0, "sd3": 4.5, "flux": 3.5}[family]
    return Case(name, 4, solver, guidance, 32, 24, negative=None if family == "flux" else "blurry")


def argument(name: str, value: str | int) -> object:
    """Sizes are (height, width) there, corners (top, left)."""
    if name.endswith("size"):
        return tuple(map(int, reversed(value.split("x"))))
    return tuple(map(int, reversed(value.split(",")))) if name.endswith("crop") else value


@torch.no_grad()
def write(family: str, source: Path, target: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(str(source)).to(torch.float64)
    pipe.set_progress_bar_config(disable=True)
    config = pipe.scheduler.config
    tensors, told = {}, []
    for name, options in CASES[family].items():
        case = base(family, name)
        given = {RENAMED.get(key, key): argument(key, value) for key, value in options.items()}
        if family in LENGTHS:
            given = {"max_sequence_length": LENGTHS[family]} | given
        noise = noise_of(pipe, case, 300)
        tensors["noise"] = noise
        tensors[name] = run(pipe, config, case, noise, **given).float().contiguous()
        told.append(asdict(case) | {"options": {key: str(value) for key, value in options.items()}})
    save_file(tensors, str(target / "options.safetensors"))
    (target / "options.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for wanted in CASES:
            folder = (Path(sys.argv[1]) if len(sys.argv) > 1 else DATA) / wanted
            folder.mkdir(parents=True, exist_ok=True)
            write(wanted, saved(wanted, Path(work)), folder)
