"""Exports bundles of the real sizes with random weights, and lets the program take one step with each.

    PYTHONPATH=tools/export python tools/export/real_configs.py WORK_DIR [sdxl] [flux] [wan] [--glint PROGRAM]
        [--dtype bfloat16] [--backend torchscript] [--size 128] [--t5-layers 0] [--keep]

Prints a table row for each: bytes of the weights `glint generate` loads; time and peak memory of the export;
of `glint generate` the time to load, encode the prompt, take the step and decode, and peak memory. Both
peaks are the largest resident set of the whole process, over the weights. The denoisers of SDXL base and
Wan 2.1 1.3B, CLIP and the VAEs (in float32) are whole. FLUX.1-dev has 2 + 4 of its 19 + 38 blocks
(--flux-blocks). An encoder of the width of T5-XXL or UMT5-XXL with next to no weights stands in for them,
unless --t5-layers gives it some of their 24 layers. Tokenizers are the tiny models'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
PROGRAM = Path(__file__).parents[2] / "build/release/glint"


def sdxl(options: argparse.Namespace) -> object:
    import tiny_pipelines as tiny
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    unet = UNet2DConditionModel(
        sample_size=128, in_channels=4, out_channels=4, layers_per_block=2,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), cross_attention_dim=2048,
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    )
    vae = image_vae(AutoencoderKL, 4, scaling_factor=0.13025, force_upcast=True)
    first, second = tiny.clip_tokenizer(), tiny.clip_tokenizer(pad="!")
    return StableDiffusionXLPipeline(
        vae=vae, text_encoder=clip(first, 768, 12, 12),
        text_encoder_2=clip(second, 1280, 32, 20, projects=True), tokenizer=first, tokenizer_2=second,
        unet=unet, scheduler=scheduler,
    )  # fmt: skip


def flux(options: argparse.Namespace) -> object:
    import tiny_pipelines as tiny
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    double, single = options.flux_blocks
    first, second = tiny.clip_tokenizer(), tiny.t5_tokenizer(512)
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
        max_image_seq_len=4096,
    )  # fmt: skip
    return FluxPipeline(
        scheduler=scheduler,
        transformer=FluxTransformer2DModel(num_layers=double, num_single_layers=single, guidance_embeds=True),
        vae=image_vae(
            AutoencoderKL, 16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip(first, 768, 12, 12), tokenizer=first,
        text_encoder_2=t5(T5EncoderModel, T5Config, 32128, options.t5_layers), tokenizer_2=second,
    )  # fmt: skip


def wan(options: argparse.Namespace) -> object:
    import tiny_pipelines as tiny
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from transformers import UMT5Config, UMT5EncoderModel

    transformer = WanTransformer3DModel(
        num_attention_heads=12,
        attention_head_dim=128,
        ffn_dim=8960,
        num_layers=30,
        qk_norm="rms_norm_across_heads",
    )
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
    )
    return WanPipeline(
        tokenizer=tiny.t5_tokenizer(512),
        text_encoder=t5(UMT5EncoderModel, UMT5Config, 256384, options.t5_layers), vae=AutoencoderKLWan(),
        scheduler=scheduler, transformer=transformer,
    )  # fmt: skip


PIPELINES = {"wan": wan, "flux": flux, "sdxl": sdxl}
EXTRA = {"sdxl": [], "flux": [], "wan": ["--frames", "5"]}


def image_vae(kind: type, channels: int, **config: object) -> nn.Module:
    return kind(
        block_out_channels=(128, 256, 512, 512), in_channels=3, out_channels=3, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2, sample_size=1024, **config,
    )  # fmt: skip


def clip(tokenizer: object, width: int, layers: int, heads: int, projects: bool = False) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=heads, projection_dim=width, hidden_act="gelu" if projects else "quick_gelu",
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip


def t5(kind: type, config: type, words: int, layers: int) -> nn.Module:
    real = {"vocab_size": words, "d_ff": 10240, "num_layers": layers, "num_heads": 64}
    small = {"vocab_size": 512, "d_ff": 64, "num_layers": 1, "num_heads": 1}
    return kind(config(d_model=4096, d_kv=64, feed_forward_proj="gated-gelu", **(real if layers else small)))


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Networks made here have no values yet: drawing billions of them one by one takes minutes."""
    names = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_")
    before = {name: getattr(nn.init, name) for name in names}
    for name in names:
        setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(nn.init, name, function)


@torch.no_grad()
def draw(network: nn.Module) -> None:
    """Draws normal numbers that keep signals near their size: one block of prime length, repeated."""
    block = torch.randn(1_048_583, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1 or "norm" in name:
            parameter.fill_(1.0)
        else:
            fan_in = 1 if "embed_tokens" in name or "shared" in name else parameter[0].numel()
            part, flat = (block / fan_in**0.5).to(parameter.dtype), parameter.view(-1)
            for start in range(0, flat.numel(), part.numel()):
                piece = flat[start : start + part.numel()]
                piece.copy_(part[: piece.numel()])


def keep_in_float32(network: nn.Module) -> None:
    """Diffusers loads some modules in float32 whatever is asked for."""
    kept = getattr(network, "_keep_in_fp32_modules", None) or []
    for name, module in network.named_modules():
        if any(part in kept for part in name.split(".")):
            module.to(torch.float32)
    for name, parameter in network.named_parameters():
        if any(part in kept for part in name.split(".")):
            parameter.data = parameter.data.float()


def export_one(options: argparse.Namespace) -> dict[str, float]:
    """The bundle of one pipeline, whose networks are made in the dtype that they have."""
    from glint_export.exporter import DTYPES, Options, write_bundle

    name = options.names[0]
    torch.set_default_dtype(DTYPES[options.dtype])
    with undrawn():
        pipe = PIPELINES[name](options)
    torch.set_default_dtype(torch.float32)
    weights = 0
    for network in pipe.components.values():
        if isinstance(network, nn.Module):
            network.to(torch.float32 if network is pipe.vae else DTYPES[options.dtype])
            keep_in_float32(network)
            draw(network.eval().requires_grad_(False))
            weights += sum(p.numel() * p.element_size() for p in network.parameters())
    start = time.monotonic()
    write_bundle(pipe, Options(Path(name), options.work / name, dtype=options.dtype, backend=options.backend))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"weights": weights, "seconds": time.monotonic() - start, "peak": peak / weights}


def weights_of(folder: Path) -> int:
    """Bytes of the component files `glint generate` loads: weights, but for a few kilobytes of code."""
    components = json.loads((folder / "model.json").read_text())["components"]
    loaded = [name for name in components if name.startswith(("text_encoder", "denoiser", "vae_decoder"))]
    return sum((folder / components[name]["file"]).stat().st_size for name in loaded)


def generate(options: argparse.Namespace, name: str) -> dict[str, object]:
    """What `glint generate --json` says of one step, and its largest resident set as its parent sees it."""
    side, picture = str(options.size), options.work / f"{name}.{'webp' if name == 'wan' else 'png'}"
    command = [str(options.glint), "generate", "a red star", "--model", str(options.work / name)]
    command += ["--steps", "1", "--width", side, "--height", side, *EXTRA[name]]
    command += ["-o", str(picture), "--json", "-q"]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    printed = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    picture.unlink(missing_ok=True)
    if status != 0:
        raise SystemExit(f"{' '.join(command)}: failed with status {status}")
    return json.loads(printed) | {"peak": usage.ru_maxrss * 1024}


def exported(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Export in a process of its own, so that its peak is its own."""
    blocks = "+".join(map(str, options.flux_blocks))
    command = [sys.executable, __file__, str(options.work), name, "--stage", "export"]
    command += ["--dtype", options.dtype, "--backend", options.backend]
    command += ["--flux-blocks", blocks, "--t5-layers", str(options.t5_layers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(done.returncode)
    *files, result = done.stdout.splitlines()
    print(*files, sep="\n", file=sys.stderr, flush=True)
    return json.loads(result)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*", default=list(PIPELINES))
    parser.add_argument(
        "--glint", type=Path, default=PROGRAM, help="the program; default: build/release/glint"
    )
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--backend", default="torchscript")
    parser.add_argument("--size", type=int, default=128, help="height and width of the picture in pixels")
    parser.add_argument("--flux-blocks", type=lambda text: tuple(map(int, text.split("+"))), default=(2, 4))
    parser.add_argument("--t5-layers", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="leave the bundles")
    parser.add_argument("--stage", choices=("export",), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stage:
        print(json.dumps(export_one(options)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    print("| bundle | weights loaded | export, peak | load | encode | one step | decode | peak |")
    print("|---" * 8 + "|")
    for name in options.names:
        folder = options.work / name
        if (folder / "model.json").exists():  # of a run with --keep
            export = "-"
        else:
            told = exported(options, name)
            export = f"{told['seconds']:.0f} s, {told['peak']:.2f} x"
        weights, run = weights_of(folder), generate(options, name)
        seconds = run["seconds"]
        times = " | ".join(f"{seconds[stage]:.1f} s" for stage in ("load", "encode", "sample", "decode"))
        size, peak = f"{weights / 2**30:.2f} GiB", f"{run['peak'] / weights:.2f} x"
        print(f"| {name} | {size} | {export} | {times} | {peak} |", flush=True)
        if not options.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
