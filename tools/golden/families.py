"""Whole runs of diffusers' pipelines on the tiny models, for the C++ pipelines to reproduce.

    python tools/golden/families.py [FOLDER]      (default: tests/data/families)

Per family: a bundle as glint_export makes it, and golden.safetensors with noise, final latents of every
case, text embeddings, decoded pictures. golden.json says what each case asks for; ids.safetensors holds the
prompts' token ids. The networks run in float64 on their float32 weights: in float32 two kinds of processors
differ by up to 1e-4, which is all that is allowed. Embeddings are there in float32 too (text.*.float32), to
tell how far off that is.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FluxPipeline,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from prompts import PROMPTS
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from glint_export.exporter import Options, export_pipeline  # noqa: E402

PROMPT, NEGATIVE = "a small golden fox in the snow", "blurry"
EMBEDDED = ("", "a red apple on a table", "猫 and 😀, wow!", "word " * 300)


@dataclass(frozen=True)
class Case:
    """One run. Sizes in pixels; everything else as generate() names it."""

    name: str
    steps: int
    solver: str
    guidance: float
    height: int
    width: int
    batch: int = 1
    frames: int | None = None
    negative: str | None = NEGATIVE
    spacing: str | None = None
    sigmas: str | None = None
    shift: float | None = None
    true_guidance: float | None = None  # classifier-free guidance beside an embedded scale


def sdxl_cases() -> list[Case]:
    cases = []
    for steps in (8, 20):
        size = {"height": 32, "width": 24, "batch": 2} if steps == 8 else {"height": 24, "width": 40}
        for solver in ("euler", "ddim", "unipc"):
            cases.append(Case(f"{solver}-{steps}", steps, solver, 5.0, **size))
        cases.append(Case(f"dpmpp-2m-karras-{steps}", steps, "dpmpp-2m", 5.0, **size, sigmas="karras"))
    cases.append(Case("no-negative", 8, "euler", 5.0, 32, 32, negative=None))
    return [*cases, Case("unguided", 8, "euler", 1.0, 32, 32)]


def flow_cases(guidance: float, negative: str | None = NEGATIVE) -> list[Case]:
    first = Case("flow-euler-8", 8, "flow-euler", guidance, 32, 24, batch=2, negative=negative)
    return [first, Case("flow-euler-20", 20, "flow-euler", guidance, 24, 40, negative=negative)]


def flux_cases() -> list[Case]:
    true = [
        Case(f"true-cfg-{steps}", steps, "flow-euler", 3.5, 32, 24, true_guidance=2.5) for steps in (8, 20)
    ]
    return flow_cases(3.5, None) + true


def wan_cases() -> list[Case]:
    return [
        Case(
            f"unipc-shift{shift:g}-{frames}f-{steps}", steps, "unipc", 5.0, 32, 48, frames=frames, shift=shift
        )
        for shift in (3.0, 5.0)
        for frames in (1, 9)
        for steps in (8, 20)
    ]


CASES: dict[str, Callable[[], list[Case]]] = {
    "sdxl": sdxl_cases,
    "sd3": lambda: flow_cases(4.5),
    "flux": flux_cases,
    "wan": wan_cases,
}


def scheduler_of(pipe: DiffusionPipeline, config: dict, case: Case) -> object:
    """diffusers' scheduler for a case; the pipeline's own configuration where the case says nothing."""
    if case.solver == "flow-euler":
        return pipe.scheduler
    if case.solver == "unipc":
        changes = {"flow_shift": case.shift} if case.shift else {}
        return UniPCMultistepScheduler.from_config(config, **changes)
    kinds = {"euler": EulerDiscreteScheduler, "ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler}
    changes = {"use_karras_sigmas": True} if case.sigmas == "karras" else {}
    if case.solver == "ddim":
        changes = {"set_alpha_to_one": False, "clip_sample": False}
    return kinds[case.solver].from_config(config, **changes)


def noise_of(pipe: DiffusionPipeline, case: Case, seed: int) -> Tensor:
    """Float32, as the library is given it."""
    generator, scale = torch.Generator().manual_seed(seed), 2
    channels = pipe.vae.config.z_dim if case.frames else pipe.vae.config.latent_channels
    if case.frames:
        scale = pipe.vae.config.scale_factor_spatial
    frames = [(case.frames - 1) // 4 + 1] if case.frames else []
    return torch.randn(
        case.batch, channels, *frames, case.height // scale, case.width // scale, generator=generator
    )


@torch.no_grad()
def run(pipe: DiffusionPipeline, config: dict, case: Case, noise: Tensor, **more: object) -> Tensor:
    """Final latents of the pipeline's own loop, in the noise's shape. `config` is the loaded scheduler's."""
    pipe.scheduler = scheduler_of(pipe, config, case)
    packed = isinstance(pipe, FluxPipeline)
    options: dict[str, object] = {"height": case.height, "width": case.width, "output_type": "latent"}
    options |= {"num_inference_steps": case.steps, "guidance_scale": case.guidance}
    options |= {
        "prompt": [PROMPT] * case.batch,
        "negative_prompt": case.negative and [case.negative] * case.batch,
    }
    if case.frames:
        options["num_frames"] = case.frames
    if packed and case.true_guidance:
        options["true_cfg_scale"] = case.true_guidance
    start = FluxPipeline._pack_latents(noise, *noise.shape) if packed else noise
    options |= more
    latents = pipe(latents=start.to(pipe.dtype, copy=True), return_dict=False, **options)[0]
    return FluxPipeline._unpack_latents(latents, case.height, case.width, 2) if packed else latents


@torch.no_grad()
def decoded(pipe: DiffusionPipeline, latents: Tensor) -> Tensor:
    """Pictures [B,3,H,W] or [B,3,F,H,W] in [-1, 1] before they become bytes."""
    config, latents = pipe.vae.config, latents.to(pipe.vae.dtype)
    if latents.dim() == 5:
        shape = (1, -1, 1, 1, 1)
        mean, std = (torch.tensor(x).view(shape) for x in (config.latents_mean, config.latents_std))
        latents = latents * std + mean
    else:
        latents = latents / config.scaling_factor + (config.shift_factor or 0.0)
    return pipe.vae.decode(latents).sample.clamp(-1, 1)


@torch.no_grad()
def embeddings(pipe: DiffusionPipeline, family: str) -> dict[str, Tensor]:
    """What each family's encode_prompt gives, all prompts along the first axis."""
    prompts = list(EMBEDDED)
    if family == "sdxl":
        tokens, _, pooled, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False)
        return {"tokens": tokens, "pooled": pooled}
    if family == "sd3":
        tokens, _, pooled, _ = pipe.encode_prompt(
            prompts, prompts, prompts, do_classifier_free_guidance=False
        )
        return {"tokens": tokens, "pooled": pooled}
    if family == "wan":
        tokens, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=512)
        return {"tokens": tokens}
    length = 512 if family == "flux" else 256
    tokens, pooled, _ = pipe.encode_prompt(prompts, max_sequence_length=length)
    return {"tokens": tokens, "pooled": pooled}


def token_ids(pipes: dict[str, DiffusionPipeline]) -> dict[str, Tensor]:
    """Ids of all prompts for every kind of tokenizer."""
    kinds = (
        ("sdxl", "tokenizer", 77), ("sdxl", "tokenizer_2", 77), ("sd3", "tokenizer_3", 256),
        ("flux", "tokenizer_2", 512), ("wan", "tokenizer", 512),
    )  # fmt: skip
    ids = {}
    for family, name, length in kinds:
        texts = [prompt_clean(p) for p in PROMPTS] if family == "wan" else PROMPTS
        tokenizer = getattr(pipes[family], name)
        rows = tokenizer(texts, padding="max_length", max_length=length, truncation=True).input_ids
        ids[f"{family}.{name}"] = torch.tensor(rows, dtype=torch.int32)
    return ids


def golden(pipe: DiffusionPipeline, family: str) -> tuple[dict[str, Tensor], list[Case]]:
    """Tensors of one family and the cases they belong to. Cases of one size share their noise."""
    tensors = {f"text.{name}.float32": value for name, value in embeddings(pipe, family).items()}
    pipe.to(torch.float64)
    tensors |= {f"text.{name}": value for name, value in embeddings(pipe, family).items()}
    cases = CASES[family]()
    more = {"max_sequence_length": 512 if family in ("flux", "wan") else 256} if family != "sdxl" else {}
    # A scheduler made from another's configuration keeps the changes to it, such as Karras' sigmas.
    config = pipe.scheduler.config
    for seed, case in enumerate(cases):
        noise = noise_of(pipe, case, 100 + seed)
        latents = run(pipe, config, case, noise, **more)
        tensors[f"{case.name}.noise"], tensors[f"{case.name}.latents"] = noise, latents
        if seed < 2 or case.frames == 9 and case.steps == 8:
            tensors[f"{case.name}.pictures"] = decoded(pipe, latents)
    return {name: value.float().contiguous() for name, value in tensors.items()}, cases


def export_both(source: Path, target: Path) -> None:
    """A TorchScript bundle and, beside it, its denoiser as an exported program with a manifest, pt2.json."""
    export_pipeline(Options(source, target))
    manifest = json.loads((target / "model.json").read_text())
    with tempfile.TemporaryDirectory() as work:
        other = Path(work)
        export_pipeline(Options(source, other, backend="pt2"))
        entry = json.loads((other / "model.json").read_text())["components"]["denoiser"]
        shutil.copyfile(other / entry["file"], target / entry["file"])
    manifest["components"]["denoiser"] = entry
    (target / "pt2.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        pipes = {}
        for family in CASES:
            source = saved(family, Path(work))
            target = folder / family
            export_both(source, target)
            pipes[family] = DiffusionPipeline.from_pretrained(str(source))
            pipes[family].set_progress_bar_config(disable=True)
            tensors, cases = golden(pipes[family], family)
            save_file(tensors, str(target / "golden.safetensors"))
            told = {"prompt": PROMPT, "embedded": EMBEDDED, "cases": [asdict(case) for case in cases]}
            (target / "golden.json").write_text(
                json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        save_file(token_ids(pipes), str(folder / "ids.safetensors"))
        (folder / "prompts.json").write_text(
            json.dumps(PROMPTS, ensure_ascii=False, indent=0) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
