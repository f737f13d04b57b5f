"""The layouts of single files: diffusers' configuration from the shapes of tensors, and diffusers' names.

Tensors come with their names below the prefix of their component. Nothing here reads a value, so tensors
without storage tell beforehand whether a file fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from diffusers.loaders import single_file_utils as ldm
from torch import Tensor

from .errors import require

Tensors = Mapping[str, Tensor]
Config = dict[str, object]

HEAD = 64  # width of an attention head in SDXL, CLIP and T5


def indices(names: Tensors, pattern: str) -> list[int]:
    """The numbers that one place of these names has, such as blocks\\.(\\d+)\\., in order."""
    found = (re.match(pattern, name) for name in names)
    return sorted({int(match[1]) for match in found if match})


def prefixed(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def heads(width: int, what: str) -> int:
    require(width % HEAD == 0, f"{what}: a width of {width} is not a multiple of {HEAD}, the width of a head")
    return width // HEAD


def sdxl_unet_config(t: Tensors) -> Config:
    """Of the UNet that Stability's code calls openaimodel, in the form of SDXL."""
    widths: list[int] = []
    layers: list[int] = []
    depths: list[int] = []
    next_level = True
    for i in indices(t, r"input_blocks\.(\d+)\."):
        if f"input_blocks.{i}.0.op.weight" in t:
            next_level = True
        elif i > 0:
            if next_level:
                widths.append(t[f"input_blocks.{i}.0.out_layers.3.weight"].shape[0])
                depths.append(len(indices(t, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\.")))
                layers.append(0)
            layers[-1] += 1
            next_level = False
    text = next(x.shape[1] for name, x in t.items() if name.endswith("attn2.to_k.weight"))
    projected = t["label_emb.0.0.weight"].shape[1]
    linear = next(x.dim() == 2 for name, x in t.items() if name.endswith("1.proj_in.weight"))
    attends = [depth > 0 for depth in depths]
    return {
        "in_channels": t["input_blocks.0.0.weight"].shape[1],
        "out_channels": t["out.2.weight"].shape[0],
        "sample_size": 128,
        "block_out_channels": widths,
        "layers_per_block": layers[0],
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "attention_head_dim": [heads(w, "unet") if a else max(1, w // HEAD)
                               for w, a in zip(widths, attends, strict=True)],
        "cross_attention_dim": text,
        "use_linear_projection": linear,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": projected,
    }  # fmt: skip


def sdxl_unet(t: Tensors, config: Config) -> dict[str, Tensor]:
    return ldm.convert_ldm_unet_checkpoint(prefixed(t, ldm.LDM_UNET_KEY), config)


def vae_config(t: Tensors) -> Config:
    levels = indices(t, r"encoder\.down\.(\d+)\.")
    return {
        "in_channels": t["encoder.conv_in.weight"].shape[1],
        "out_channels": t["decoder.conv_out.weight"].shape[0],
        "latent_channels": t["decoder.conv_in.weight"].shape[1],
        "block_out_channels": [t[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in levels],
        "layers_per_block": len(indices(t, r"encoder\.down\.0\.block\.(\d+)\.")),
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "sample_size": 1024,
        "force_upcast": True,
    }


def sdxl_vae_config(t: Tensors) -> Config:
    return vae_config(t) | {"scaling_factor": 0.13025}


def flux_vae_config(t: Tensors) -> Config:
    own = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
    return vae_config(t) | own | {"use_quant_conv": False, "use_post_quant_conv": False}


def vae(t: Tensors, config: Config) -> dict[str, Tensor]:
    return ldm.convert_ldm_vae_checkpoint(prefixed(t, "vae."), config)


def text_config(t: Tensors, component: str, tokens: str, positions: str, fc: str, layer: str) -> Config:
    """What the two CLIP text encoders of SDXL tell alike, by the names of their tensors."""
    width = t[positions].shape[1]
    return {
        "vocab_size": t[tokens].shape[0],
        "max_position_embeddings": t[positions].shape[0],
        "hidden_size": width,
        "intermediate_size": t[fc].shape[0],
        "num_hidden_layers": len(indices(t, layer)),
        "num_attention_heads": heads(width, component),
        "bos_token_id": 0,
        "eos_token_id": 2,  # which means: the largest id of the prompt
        "pad_token_id": 1,
    }


def clip_config(t: Tensors) -> Config:
    """Of OpenAI's CLIP ViT-L/14, named as transformers names it."""
    tokens, positions = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
    fc, layer = "encoder.layers.0.mlp.fc1.weight", r"encoder\.layers\.(\d+)\."
    config = text_config(t, "text_encoder", tokens, positions, fc, layer)
    return config | {"projection_dim": config["hidden_size"], "hidden_act": "quick_gelu"}


def clip(t: Tensors, _: Config) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in t.items() if name != "embeddings.position_ids"}


def open_clip_config(t: Tensors) -> Config:
    """Of OpenCLIP's ViT-bigG/14, in its own names."""
    tokens, positions = "token_embedding.weight", "positional_embedding"
    fc, layer = "transformer.resblocks.0.mlp.c_fc.weight", r"transformer\.resblocks\.(\d+)\."
    config = text_config(t, "text_encoder_2", tokens, positions, fc, layer)
    return config | {"projection_dim": t["text_projection"].shape[1], "hidden_act": "gelu"}


def open_clip(t: Tensors, _: Config) -> dict[str, Tensor]:
    prefix = "conditioner.embedders.1.model."
    t["text_projection"]  # without which the conversion looks at a network for the width
    return ldm.convert_open_clip_checkpoint(None, prefixed(t, prefix), prefix=prefix)


def t5_config(t: Tensors) -> Config:
    """Of the encoder of T5 1.1, named as transformers names it."""
    first = "encoder.block.0.layer.0.SelfAttention"
    buckets, count = t[f"{first}.relative_attention_bias.weight"].shape
    words, width = t["shared.weight"].shape
    return {
        "vocab_size": words,
        "d_model": width,
        "d_kv": t[f"{first}.q.weight"].shape[0] // count,
        "d_ff": t["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"].shape[0],
        "num_layers": len(indices(t, r"encoder\.block\.(\d+)\.")),
        "num_heads": count,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
    }


def t5(t: Tensors, _: Config) -> dict[str, Tensor]:
    own = {name: tensor for name, tensor in t.items() if name.startswith(("shared.", "encoder."))}
    return {"encoder.embed_tokens.weight": t["shared.weight"]} | own


def flux_config(t: Tensors) -> Config:
    """Of FLUX.1 in Black Forest Labs' names."""
    width, size = t["img_in.weight"].shape[0], t["double_blocks.0.img_attn.norm.key_norm.scale"].shape[0]
    axes = (size // 8, 7 * size // 16, 7 * size // 16)  # 16, 56, 56 of 128
    taken, given = t["img_in.weight"].shape[1], t["final_layer.linear.weight"].shape[0]
    require(taken == given, f"transformer: takes {taken} channels and gives {given}, as fill models do")
    require(
        sum(axes) == size and all(axis % 2 == 0 for axis in axes) and width % size == 0,
        f"transformer: heads of {size} values in a width of {width} are not FLUX's",
    )
    return {
        "patch_size": 1,
        "in_channels": taken,
        "num_layers": len(indices(t, r"double_blocks\.(\d+)\.")),
        "num_single_layers": len(indices(t, r"single_blocks\.(\d+)\.")),
        "attention_head_dim": size,
        "num_attention_heads": width // size,
        "joint_attention_dim": t["txt_in.weight"].shape[1],
        "pooled_projection_dim": t["vector_in.in_layer.weight"].shape[1],
        "guidance_embeds": "guidance_in.in_layer.weight" in t,
        "axes_dims_rope": axes,
    }


# Tensors of FLUX that keep their values, by what is before .weight and .bias.
FLUX_NAMES = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    **{f"{ours}.{layer}_layer": f"time_text_embed.{theirs}_embedder.linear_{i}"
       for ours, theirs in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance"))
       for i, layer in ((1, "in"), (2, "out"))},
}  # fmt: skip
DOUBLE_NAMES = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
}  # fmt: skip
DOUBLE_NORMS = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
SINGLE_NAMES = {"modulation.lin": "norm.linear", "linear2": "proj_out"}
SINGLE_NORMS = {"norm.query_norm.scale": "attn.norm_q.weight", "norm.key_norm.scale": "attn.norm_k.weight"}
SPLIT = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}


def flux(t: Tensors, config: Config) -> dict[str, Tensor]:
    """The transformer under diffusers' names: fused products apart, and the last norm's halves exchanged."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    result: dict[str, Tensor] = {}
    for name, tensor in t.items():
        block = re.match(r"(double|single)_blocks\.(\d+)\.", name)
        rest = name[block.end() :] if block else name
        double = bool(block) and block[1] == "double"
        place = f"{'' if double else 'single_'}transformer_blocks.{block[2]}." if block else ""
        names = (DOUBLE_NAMES if double else SINGLE_NAMES) if block else FLUX_NAMES
        norms = (DOUBLE_NORMS if double else SINGLE_NORMS) if block else {}
        stem, _, kind = rest.rpartition(".")
        if rest in norms:
            result[place + norms[rest]] = tensor
        elif stem in names:
            result[f"{place}{names[stem]}.{kind}"] = tensor
        elif stem in SPLIT and block:
            parts = tensor.split([width] * 3 + [tensor.shape[0] - 3 * width] * (len(SPLIT[stem]) - 3))
            result |= {f"{place}{new}.{kind}": part for new, part in zip(SPLIT[stem], parts, strict=True)}
        elif stem == "final_layer.adaLN_modulation.1":
            shift, scale = tensor.chunk(2)
            result[f"norm_out.linear.{kind}"] = torch.cat((scale, shift))
        else:
            result[name] = tensor  # which the check against the network names
    return result
