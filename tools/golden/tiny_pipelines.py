"""Tiny pipelines of the supported families with random weights, of the same classes as the real ones.

python tools/golden/tiny_pipelines.py FOLDER      writes sdxl, sd3, flux, flux-schnell and wan below FOLDER
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import sentencepiece
import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from prompts import SENTENCES
from sentencepiece import sentencepiece_model_pb2 as proto
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

DATA = Path(__file__).parents[2] / "tests/data/families"
WIDTH, TEXT = 8, 32


def bytes_to_symbols() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's byte-pair encoding with its first merges only."""
    merges = [tuple(line.split()) for line in (DATA / "merges.txt").read_text(encoding="utf-8").splitlines()]
    symbols = bytes_to_symbols()
    words = [
        *symbols,
        *(s + "</w>" for s in symbols),
        *map("".join, merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def t5_tokenizer(length: int) -> T5Tokenizer:
    """A unigram model with SentencePiece's normalisation, trained on the spot."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, model_type="unigram", vocab_size=300,
        character_coverage=1.0, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    parsed = proto.ModelProto.FromString(model.getvalue())
    vocabulary = [(piece.piece, piece.score) for piece in parsed.pieces]
    # T5 keeps its hundred sentinels behind the vocabulary.
    vocabulary += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(100))]
    table = parsed.normalizer_spec.precompiled_charsmap
    return T5Tokenizer(vocab=vocabulary, _spm_precompiled_charsmap=table, model_max_length=length)


def clip_encoder(tokenizer: CLIPTokenizer, projects: bool, legacy_end: bool) -> nn.Module:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=TEXT, intermediate_size=37, num_hidden_layers=3,
        num_attention_heads=4, projection_dim=TEXT, max_position_embeddings=77,
        hidden_act="gelu" if projects else "quick_gelu",
        bos_token_id=0 if legacy_end else tokenizer.bos_token_id, pad_token_id=1,
        # The older configurations say 2, which means: the largest id of the prompt.
        eos_token_id=2 if legacy_end else tokenizer.eos_token_id,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def t5_encoder(tokenizer: T5Tokenizer, kind: type = T5EncoderModel, config: type = T5Config) -> nn.Module:
    return kind(
        config(
            vocab_size=len(tokenizer), d_model=TEXT, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
            relative_attention_num_buckets=8, relative_attention_max_distance=20,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def image_vae(channels: int, **config: object) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16), in_channels=3, out_channels=3, latent_channels=channels,
        norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, sample_size=64, **config,
    )  # fmt: skip


def seeded(pipe: DiffusionPipeline, seed: int) -> DiffusionPipeline:
    """Draws every weight; matrices large enough that all inputs matter, scales around 1."""
    generator = torch.Generator().manual_seed(seed)
    networks = [network for network in pipe.components.values() if isinstance(network, nn.Module)]
    with torch.no_grad():
        for network in networks:
            for name, parameter in sorted(network.eval().requires_grad_(False).named_parameters()):
                noise = torch.randn(parameter.shape, generator=generator)
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
                scale = "norm" in name and name.endswith(("weight", "gamma"))
                parameter.copy_(
                    1 + 0.1 * noise if scale else noise * (0.9 / fan_in**0.5 if parameter.dim() > 1 else 0.05)
                )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sdxl() -> StableDiffusionXLPipeline:
    tokenizer, second = clip_tokenizer(), clip_tokenizer(pad="!")
    unet = UNet2DConditionModel(
        block_out_channels=(WIDTH, 2 * WIDTH), layers_per_block=1, sample_size=16, in_channels=4,
        out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(1, 2),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 1), norm_num_groups=4,
        projection_class_embeddings_input_dim=TEXT + 6 * 8, cross_attention_dim=2 * TEXT,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    )
    pipe = StableDiffusionXLPipeline(
        vae=image_vae(4, scaling_factor=0.13025),
        text_encoder=clip_encoder(tokenizer, projects=False, legacy_end=True),
        text_encoder_2=clip_encoder(second, projects=True, legacy_end=False),
        tokenizer=tokenizer, tokenizer_2=second, unet=unet, scheduler=scheduler,
    )  # fmt: skip
    seeded(pipe, 1)
    # Large random predictions make latents, and their rounding, ten times as large as a trained model's.
    unet.conv_out.weight.mul_(0.3)
    return pipe


def sd3() -> StableDiffusion3Pipeline:
    tokenizer, second, third = clip_tokenizer(), clip_tokenizer(pad="!"), t5_tokenizer(512)
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=2 * TEXT + 8,
        pooled_projection_dim=2 * TEXT, out_channels=16, pos_embed_max_size=24, qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(third), d_model=2 * TEXT + 8, d_kv=8, d_ff=37, num_layers=2, num_heads=4,
            relative_attention_num_buckets=8, relative_attention_max_distance=20,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip
    pipe = StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=image_vae(
            16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=clip_encoder(tokenizer, projects=True, legacy_end=False), tokenizer=tokenizer,
        text_encoder_2=clip_encoder(second, projects=True, legacy_end=False), tokenizer_2=second,
        text_encoder_3=t5, tokenizer_3=third,
    )  # fmt: skip
    return seeded(pipe, 2)


def flux_scheduler(guided: bool) -> FlowMatchEulerDiscreteScheduler:
    """FLUX.1-dev's, or schnell's."""
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0 if guided else 1.0, use_dynamic_shifting=guided, base_shift=0.5, max_shift=1.15,
        base_image_seq_len=256, max_image_seq_len=4096,
    )  # fmt: skip


def flux(guided: bool = True, wide: bool = False) -> FluxPipeline:
    """With the width of FLUX.1 if `wide`: 531 M parameters."""
    tokenizer, second = clip_tokenizer(), t5_tokenizer(512)
    heads, size, axes = (24, 128, (16, 56, 56)) if wide else (2, 16, (4, 6, 6))
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=size,
        num_attention_heads=heads, joint_attention_dim=TEXT, pooled_projection_dim=TEXT, axes_dims_rope=axes,
        guidance_embeds=guided,
    )  # fmt: skip
    pipe = FluxPipeline(
        scheduler=flux_scheduler(guided), transformer=transformer,
        vae=image_vae(
            16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
        ),
        text_encoder=clip_encoder(tokenizer, projects=False, legacy_end=True), tokenizer=tokenizer,
        text_encoder_2=t5_encoder(second), tokenizer_2=second,
    )  # fmt: skip
    return seeded(pipe, 3 if guided else 4)


def wan(wide: bool = False) -> WanPipeline:
    """With the width of Wan 2.1 1.3B if `wide`: 112 M parameters."""
    tokenizer = t5_tokenizer(512)
    heads, size, frequencies, ffn = (12, 128, 256, 8960) if wide else (2, 12, 32, 32)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=heads, attention_head_dim=size, in_channels=16,
        out_channels=16, text_dim=TEXT, freq_dim=frequencies, ffn_dim=ffn, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=64,
    )  # fmt: skip
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
    )
    vae = AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    pipe = WanPipeline(
        tokenizer=tokenizer, text_encoder=t5_encoder(tokenizer, UMT5EncoderModel, UMT5Config), vae=vae,
        scheduler=scheduler, transformer=transformer,
    )  # fmt: skip
    return seeded(pipe, 5)


PIPELINES = {"sdxl": sdxl, "sd3": sd3, "flux": flux, "flux-schnell": lambda: flux(guided=False), "wan": wan}
# Networks of real width, to measure time with; the encoders stay tiny.
WIDE_PIPELINES = {"flux-wide": lambda: flux(wide=True), "wan-wide": lambda: wan(wide=True)}


def saved(name: str, folder: Path) -> Path:
    """Writes one pipeline into `folder`/`name`, unless it is there, and returns that path."""
    path = folder / name
    if not (path / "model_index.json").exists():
        (PIPELINES | WIDE_PIPELINES)[name]().save_pretrained(str(path))
    return path


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    for pipeline in PIPELINES:
        print(saved(pipeline, target))
