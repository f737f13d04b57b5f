"""Peak memory of decoding at the real autoencoders' sizes, with random weights, whole and in tiles.

    PYTHONPATH=tools/export python tools/bench/vae_memory.py PROGRAM [KIND...]     KIND: flux, wan

PROGRAM is the built glint. The denoiser stays the tiny one of tests/data/families, so what is measured is the decoder:
FLUX.1's (also SDXL's and SD3.5's, up to its 16 latent channels) and Wan 2.1's, in float32. Memory is what the process has
at most, less what it has with the smallest picture: loaded libraries and weights.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from glint_export import networks, parts
from safetensors.torch import save_file

DATA = Path(__file__).parents[2] / "tests/data/families"
# Width, height, frames, tile.
SIZES = {
    "flux": [(512, 512, 0, 0), (768, 768, 0, 0), (768, 768, 0, 512), (1024, 1024, 0, 512), (1024, 1024, 0, 0)],
    "wan": [(256, 256, 5, 0), (256, 256, 17, 0), (480, 272, 5, 0), (480, 272, 5, 256), (480, 272, 17, 256)],
}


def decoder_parts(kind: str) -> list[parts.Part]:
    torch.manual_seed(1)
    if kind == "wan":
        return [p for p in networks.video_vae_parts(AutoencoderKLWan().eval()) if "decoder" in p.name]
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()  # fmt: skip
    return [p for p in networks.image_vae_parts(vae) if "decoder" in p.name]


def bundle(kind: str, folder: Path) -> None:
    """The tiny bundle with a decoder of real size."""
    shutil.copytree(DATA / kind, folder)
    manifest = json.loads((folder / "model.json").read_text())
    components = {"denoiser": manifest["components"]["denoiser"]}
    for part in decoder_parts(kind):
        components[part.name] = parts.export(part, folder, "torchscript")
    manifest["components"] = components
    manifest["latent"]["spatial_scale"] = 8
    (folder / "model.json").write_text(json.dumps(manifest))
    tokens = {"tokens": torch.randn(8, 32), "pooled": torch.randn(32), "null_tokens": torch.randn(8, 32)}
    tokens["null_pooled"] = torch.randn(32)
    save_file(tokens, str(folder / "cond.safetensors"))


def run(program: str, folder: Path, width: int, height: int, frames: int, tile: int) -> tuple[float, float]:
    """Peak memory in MiB and seconds of decoding."""
    command = [program, "generate", "-m", str(folder), "--cond-in", str(folder / "cond.safetensors"), "--steps", "1"]
    command += ["--threads", "1", "-q", "--json", "--width", str(width), "--height", str(height), "--sheet", "/dev/null"]
    command += ["--vae-tile", str(tile), *(["--frames", str(frames)] if frames else [])]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report["peak_memory_bytes"] / 2**20, report["seconds"]["decode"]


def main(program: str, kinds: list[str]) -> None:
    for kind in kinds:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / kind
            bundle(kind, folder)
            base, _ = run(program, folder, 32, 32, 1 if kind == "wan" else 0, 0)
            print(f"{kind}: {base:.0f} MiB with 32 x 32 pixels", flush=True)
            for width, height, frames, tile in SIZES[kind]:
                peak, seconds = run(program, folder, width, height, frames, tile)
                per_pixel = (peak - base) * 2**20 / (width * height)
                shown = f"{width} x {height}" + (f" x {frames} frames" if frames else "")
                how = f"tiles of {tile}" if tile else "one piece"
                print(f"  {shown}, {how}: {peak - base:.0f} MiB more, {per_pixel:.0f} B/px, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(SIZES))
