"""Tiny SDXL and FLUX pipelines as single files: the tensors under the names of the original code.

These are the inverses of diffusers' conversions, which read the files again in the tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import tiny_pipelines as tiny
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

Tensors = dict[str, Tensor]
WIDTH = 64  # one attention head

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
          "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip
UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
VAE = {"conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out", "mid_block.resnets.0": "mid.block_1",
       "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1", "group_norm": "norm",
       "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}  # fmt: skip
OPEN_CLIP = {"embeddings.token_embedding": "token_embedding", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
             "encoder.layers": "transformer.resblocks", "self_attn.out_proj": "attn.out_proj",
             "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "final_layer_norm": "ln_final"}  # fmt: skip


def replaced(name: str, names: dict[str, str]) -> str:
    for theirs, ours in names.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}\.", rf"\g<1>{ours}.", name)
    return name


def unet(network: nn.Module) -> Tensors:
    layers, result = network.config.layers_per_block, {}
    for name, tensor in network.state_dict().items():
        block = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
        if block:
            way, level, kind, layer, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
            attends = "CrossAttn" in getattr(network.config, f"{way}_block_types")[level]
            index = level * (layers + 1) + (layer if kind in ("resnets", "attentions") else layers)
            place = {"resnets": 0, "attentions": 1, "downsamplers": 0, "upsamplers": 1 + attends}[kind]
            side = f"input_blocks.{1 + index}" if way == "down" else f"output_blocks.{index}"
            rest = rest.replace("conv.", "op.") if kind == "downsamplers" else rest
            name = f"{side}.{place}.{rest}"
        name = replaced(name, UNET)
        if re.match(r"(input_blocks\.\d+\.0|output_blocks\.\d+\.0|middle_block\.[02])\.", name):
            name = replaced(name, RESNET)
        result[name] = tensor
    return result


def vae(network: nn.Module) -> Tensors:
    count, result = len(network.config.block_out_channels), {}
    for name, tensor in network.state_dict().items():
        if "attentions.0.to_" in name and name.endswith("weight"):
            tensor = tensor[:, :, None, None]  # convolutions of size 1
        name = replaced(name, VAE)
        name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
        up = re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers\.0)(.*)", name)
        if up:
            what = "block" if up[2] == "resnets" else "upsample"
            name = f"decoder.up.{count - 1 - int(up[1])}.{what}{up[3]}"
        result[name] = tensor
    return result


def open_clip(network: nn.Module) -> Tensors:
    result, state = {}, network.state_dict()
    for name, tensor in state.items():
        if name == "text_projection.weight":
            result["text_projection"] = tensor.T
            continue
        inner = name.removeprefix("text_model.")
        if inner == "embeddings.position_embedding.weight":
            result["positional_embedding"] = tensor
        elif ".self_attn.q_proj." in inner:
            parts = torch.cat([state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"])
            stem, kind = inner.split("self_attn.q_proj.")
            result[replaced(f"{stem}attn.in_proj_{kind}", OPEN_CLIP)] = parts
        elif not re.search(r"self_attn\.[kv]_proj", inner):
            result[replaced(inner, OPEN_CLIP)] = tensor
    return result | {"logit_scale": torch.tensor(4.6)}


def flux(network: nn.Module) -> Tensors:
    state, result = network.state_dict(), {}

    def put(name: str, *sources: str, kinds: tuple[str, ...] = ("weight", "bias")) -> None:
        for kind in kinds:
            result[f"{name}.{kind}"] = torch.cat([state[f"{source}.{kind}"] for source in sources])

    def norm(name: str, source: str) -> None:
        result[f"{name}.scale"] = state[f"{source}.weight"]

    for ours, theirs in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")):
        if f"time_text_embed.{theirs}_embedder.linear_1.weight" in state:
            for i, layer in ((1, "in"), (2, "out")):
                put(f"{ours}.{layer}_layer", f"time_text_embed.{theirs}_embedder.linear_{i}")
    put("img_in", "x_embedder")
    put("txt_in", "context_embedder")
    put("final_layer.linear", "proj_out")
    for kind in ("weight", "bias"):
        scale, shift = state[f"norm_out.linear.{kind}"].chunk(2)
        result[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat((shift, scale))
    for i in range(network.config.num_layers):
        ours, theirs = f"double_blocks.{i}", f"transformer_blocks.{i}"
        for way, end, add, out, added in (
            ("img", "", "to_{}", "to_out.0", ""),
            ("txt", "_context", "add_{}_proj", "to_add_out", "added_"),
        ):
            put(f"{ours}.{way}_mod.lin", f"{theirs}.norm1{end}.linear")
            put(f"{ours}.{way}_attn.qkv", *(f"{theirs}.attn.{add.format(x)}" for x in "qkv"))
            put(f"{ours}.{way}_attn.proj", f"{theirs}.attn.{out}")
            put(f"{ours}.{way}_mlp.0", f"{theirs}.ff{end}.net.0.proj")
            put(f"{ours}.{way}_mlp.2", f"{theirs}.ff{end}.net.2")
            for what, x in (("query", "q"), ("key", "k")):
                norm(f"{ours}.{way}_attn.norm.{what}_norm", f"{theirs}.attn.norm_{added}{x}")
    for i in range(network.config.num_single_layers):
        ours, theirs = f"single_blocks.{i}", f"single_transformer_blocks.{i}"
        put(f"{ours}.modulation.lin", f"{theirs}.norm.linear")
        put(f"{ours}.linear1", *(f"{theirs}.attn.to_{x}" for x in "qkv"), f"{theirs}.proj_mlp")
        put(f"{ours}.linear2", f"{theirs}.proj_out")
        for what, x in (("query", "q"), ("key", "k")):
            norm(f"{ours}.norm.{what}_norm", f"{theirs}.attn.norm_{x}")
    return result


def clip(tokenizer: object, layers: int, projects: bool) -> nn.Module:
    heads = 2 if projects else 1  # diffusers tells SDXL's encoders apart by their widths
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=heads * WIDTH, intermediate_size=96, num_hidden_layers=layers,
        num_attention_heads=heads, projection_dim=heads * WIDTH, max_position_embeddings=77,
        hidden_act="gelu" if projects else "quick_gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)


def image_vae(channels: int, **config: object) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32), in_channels=3, out_channels=3, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, sample_size=1024, force_upcast=True, **config,
    )  # fmt: skip


def sdxl_pipeline() -> StableDiffusionXLPipeline:
    """As the released SDXL is built, but tiny; its second encoder has the ten layers SDXL is told by."""
    first, second = tiny.clip_tokenizer(), tiny.clip_tokenizer(pad="!")
    network = UNet2DConditionModel(
        sample_size=128, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(32, WIDTH),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(1, 1),
        transformer_layers_per_block=(1, 2), cross_attention_dim=3 * WIDTH, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2 * WIDTH + 6 * 256,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
        timestep_spacing="leading",
    )  # fmt: skip
    pipe = StableDiffusionXLPipeline(
        vae=image_vae(4, scaling_factor=0.13025), text_encoder=clip(first, 2, False),
        text_encoder_2=clip(second, 10, True), tokenizer=first, tokenizer_2=second, unet=network,
        scheduler=scheduler,
    )  # fmt: skip
    return tiny.seeded(pipe, 6)


def flux_pipeline(guided: bool) -> FluxPipeline:
    first, second = tiny.clip_tokenizer(), tiny.t5_tokenizer(512)
    network = FluxTransformer2DModel(
        in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 14, 14),
        guidance_embeds=guided,
    )  # fmt: skip
    t5 = T5EncoderModel(
        T5Config(vocab_size=len(second), d_model=WIDTH, d_kv=16, d_ff=48, num_layers=2, num_heads=2,
                 relative_attention_num_buckets=8, feed_forward_proj="gated-gelu")
    )  # fmt: skip
    pipe = FluxPipeline(
        scheduler=tiny.flux_scheduler(guided),
        transformer=network, text_encoder=clip(first, 2, False), tokenizer=first,
        text_encoder_2=t5, tokenizer_2=second,
        vae=image_vae(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
                      use_post_quant_conv=False),
    )  # fmt: skip
    return tiny.seeded(pipe, 7)


def below(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def sdxl_tensors(pipe: StableDiffusionXLPipeline) -> Tensors:
    encoders = "conditioner.embedders."
    return (
        below("model.diffusion_model.", unet(pipe.unet))
        | below("first_stage_model.", vae(pipe.vae))
        | below(f"{encoders}0.transformer.text_model.", pipe.text_encoder.state_dict())
        | {f"{encoders}0.transformer.text_model.embeddings.position_ids": torch.arange(77).view(1, 77)}
        | below(f"{encoders}1.model.", open_clip(pipe.text_encoder_2))
    )


def flux_tensors(pipe: FluxPipeline, whole: bool) -> Tensors:
    """The transformer alone as Black Forest Labs name it, or everything as ComfyUI does."""
    if not whole:
        return flux(pipe.transformer)
    return (
        below("model.diffusion_model.", flux(pipe.transformer))
        | below("vae.", vae(pipe.vae))
        | below("text_encoders.clip_l.transformer.text_model.", pipe.text_encoder.state_dict())
        | below("text_encoders.t5xxl.transformer.", pipe.text_encoder_2.state_dict())
    )


def saved(tensors: Tensors, path: Path) -> Path:
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path)
    return path
