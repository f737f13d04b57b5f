"""What each pipeline class becomes: parts, tokenizers and the fields of model.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DiffusionPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerBase,
    T5EncoderModel,
    UMT5EncoderModel,
)

from .autoencoders import statistics
from .denoiser_parts import flux_denoiser, sd3_denoiser, sdxl_denoiser, wan_denoiser
from .errors import require
from .networks import image_vae_parts, plain_vae_parts, video_vae_parts
from .parts import Part
from .scheduler_fields import Carried, Computed, Fields, NoEffect, Only
from .schedules import noise_fields
from .text_encoders import ClipEncoder, MaskedT5Encoder, SkippingClipEncoder, T5Encoder
from .tokenizers import write_clip, write_sentencepiece


# The class of each component. Those in tuples may be missing.
COMPONENTS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "StableDiffusionXLPipeline": {
        "tokenizer": PreTrainedTokenizerBase, "tokenizer_2": PreTrainedTokenizerBase,
        "text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection,
        "unet": UNet2DConditionModel, "vae": AutoencoderKL, "scheduler": object,
    },
    "StableDiffusion3Pipeline": {
        "tokenizer": PreTrainedTokenizerBase, "tokenizer_2": PreTrainedTokenizerBase,
        "tokenizer_3": (PreTrainedTokenizerBase,), "text_encoder": CLIPTextModelWithProjection,
        "text_encoder_2": CLIPTextModelWithProjection, "text_encoder_3": (T5EncoderModel,),
        "transformer": SD3Transformer2DModel, "vae": AutoencoderKL, "scheduler": object,
    },
    "FluxPipeline": {
        "tokenizer": PreTrainedTokenizerBase, "tokenizer_2": PreTrainedTokenizerBase,
        "text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel,
        "transformer": FluxTransformer2DModel, "vae": AutoencoderKL, "scheduler": object,
    },
    "WanPipeline": {
        "tokenizer": PreTrainedTokenizerBase, "text_encoder": UMT5EncoderModel,
        "transformer": WanTransformer3DModel, "transformer_2": (WanTransformer3DModel,),
        "vae": AutoencoderKLWan, "scheduler": object,
    },
}  # fmt: skip
# The other entries of model_index.json that a pipeline reads.
PIPELINE_OPTIONS: dict[str, Fields] = {
    "StableDiffusionXLPipeline": {
        "force_zeros_for_empty_prompt": Carried("guidance.zero_null"),
        "add_watermarker": NoEffect("pictures of a bundle have no watermark"),
    },
    "WanPipeline": {"boundary_ratio": Only(None), "expand_timesteps": Only(False)},
}
# The fields of config.json that a pipeline reads, or that say how a network is to be called. All the others
# are in the networks' own files, which compute what the configuration says.
LATENT = Carried("latent.channels")
NETWORK = Computed()
IMAGE_VAE: Fields = {
    "block_out_channels": Carried("latent.spatial_scale"),
    "latent_channels": LATENT,
    "scaling_factor": Carried("latent.scaling_factor"),
    "force_upcast": Carried("components.vae_*.compute"),
}
UNREAD = NoEffect("the pipeline does not read it")
FLOW_VAE: Fields = IMAGE_VAE | {
    "shift_factor": Carried("latent.shift_factor"), "latents_mean": UNREAD, "latents_std": UNREAD,
}  # fmt: skip
SIDES = Carried("latent.height, width")
COMPONENT_FIELDS: dict[str, dict[str, Fields]] = {
    "StableDiffusionXLPipeline": {
        "unet": {
            "in_channels": LATENT,
            "sample_size": SIDES,
            "addition_embed_type": Only("text_time"),
            "addition_time_embed_dim": NETWORK,
            "time_cond_proj_dim": Only(None),
            "class_embed_type": Only(None),
            "encoder_hid_dim_type": Only(None),
        },
        "text_encoder_2": {"projection_dim": NETWORK},
        "vae": IMAGE_VAE | {"shift_factor": UNREAD, "latents_mean": NETWORK, "latents_std": NETWORK},
    },
    "StableDiffusion3Pipeline": {
        "transformer": {
            "in_channels": LATENT,
            "sample_size": SIDES,
            "patch_size": Carried("latent.patch", (2,)),
            "pos_embed_max_size": Carried("latent.largest"),
            "joint_attention_dim": Carried("absent_text"),
        },
        "vae": FLOW_VAE,
    },
    "FluxPipeline": {
        "transformer": {
            "in_channels": LATENT,
            "patch_size": Carried("latent.patch", (1,)),
            "guidance_embeds": Carried("guidance.embedded"),
        },
        "vae": FLOW_VAE,
    },
    "WanPipeline": {
        "transformer": {
            "in_channels": LATENT,
            "patch_size": Carried("latent.patch", ((1, 2, 2),)),
            "image_dim": Only(None),
        },
        "vae": {
            "z_dim": LATENT,
            "scale_factor_spatial": Carried("latent.spatial_scale"),
            "scale_factor_temporal": Carried("latent.frame_scale", (4,)),
            "latents_mean": NETWORK,
            "latents_std": NETWORK,
            "is_residual": Only(False),
            "patch_size": Only(None),
        },
    },
}


@dataclass
class Family:
    name: str
    denoiser: Callable[[nn.Module], Part]  # from the UNet or transformer
    network: str  # the pipeline's name of it
    tokenizers: dict[str, tuple[Callable, int]]  # component -> writer, length
    encoders: dict[str, tuple[type[nn.Module], int]]
    vae: Callable[[nn.Module], list[Part]]
    manifest: dict[str, object]
    # from the widths of the text encoders' outputs: those of the denoiser's inputs
    widths: Callable[[list[list[int]]], dict[str, int]]
    tokenizer_fields: dict[str, object] = field(default_factory=dict)


def image_latent(pipe: DiffusionPipeline, side: int, patch: int, multiple: int) -> dict[str, object]:
    config = pipe.vae.config
    # SDXL's pipeline knows statistics of channels and no shift, the others the contrary.
    shifts = not isinstance(pipe, StableDiffusionXLPipeline)
    require(
        not shifts or config.shift_factor is not None,
        "vae AutoencoderKL: shift_factor = None is not supported, only a finite number",
    )
    plain = not shifts and statistics(config, 4) is not None
    return {
        "channels": config.latent_channels,
        "spatial_scale": 2 ** (len(config.block_out_channels) - 1),
        "scaling_factor": 1.0 if plain else config.scaling_factor,
        "shift_factor": config.shift_factor if shifts else 0.0,
        "height": side,
        "width": side,
        "patch": patch,
        "multiple": multiple,
    }


def sdxl(pipe: StableDiffusionXLPipeline) -> Family:
    clip = {
        "tokenizer": (write_clip, pipe.tokenizer.model_max_length),
        "tokenizer_2": (write_clip, pipe.tokenizer_2.model_max_length),
    }
    lengths = [length for _, length in clip.values()]
    require(lengths[0] == lengths[1], f"tokenizers: model_max_length of {lengths} is not supported, only one")
    multiple = 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    taken, given = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    inpaints = ": an inpainting model" if taken == 2 * given + 1 else ""
    require(
        taken == given,
        f"unet: in_channels = {taken} is not supported beside latents of {given} channels{inpaints}",
    )
    manifest = {
        "family": "sdxl",
        **noise_fields(pipe.scheduler, "sdxl"),
        "latent": image_latent(pipe, pipe.default_sample_size, 1, multiple),
        "guidance": {"null_branch": True, "embedded": False, "default": 5.0,
                     "zero_null": bool(pipe.config.force_zeros_for_empty_prompt)},
        "default_steps": 50,
    }  # fmt: skip
    encoders = {
        name.replace("tokenizer", "text_encoder"): (SkippingClipEncoder, length)
        for name, (_, length) in clip.items()
    }

    def widths(texts: list[list[int]]) -> dict[str, int]:
        (first, _), (second, pooled) = texts
        return {"tokens": first + second, "pooled": pooled}

    return Family("sdxl", sdxl_denoiser, "unet", clip, encoders, image_vae_parts, manifest, widths)


def sd3(pipe: StableDiffusion3Pipeline) -> Family:
    config, length = pipe.transformer.config, pipe.tokenizer_max_length
    tokenizers = {
        "tokenizer": (write_clip, length),
        "tokenizer_2": (write_clip, length),
        "tokenizer_3": (write_sentencepiece, 256),
    }
    encoders = {
        "text_encoder": (SkippingClipEncoder, length),
        "text_encoder_2": (SkippingClipEncoder, length),
        "text_encoder_3": (T5Encoder, 256),
    }
    manifest = {
        "family": "sd3",
        **noise_fields(pipe.scheduler, "sd3"),
        "latent": image_latent(pipe, config.sample_size, 2, 2) | {"largest": config.pos_embed_max_size * 2},
        "guidance": {"null_branch": True, "embedded": False, "default": 7.0},
        "default_steps": 28,
    }
    if pipe.text_encoder_3 is None:
        # diffusers' pipeline puts zeros where T5's embeddings would be.
        del tokenizers["tokenizer_3"], encoders["text_encoder_3"]
        manifest["absent_text"] = [256, config.joint_attention_dim]
    else:
        require(pipe.tokenizer_3 is not None, "tokenizer_3: missing beside text_encoder_3")

    def widths(texts: list[list[int]]) -> dict[str, int]:
        # CLIP's tokens are padded with zeros to the width of T5's.
        (first, one), (second, two), *third = texts
        wide = third[0][0] if third else config.joint_attention_dim
        return {"tokens": max(first + second, wide), "pooled": one + two}

    return Family(
        "sd3", sd3_denoiser, "transformer", tokenizers, encoders, plain_vae_parts, manifest, widths
    )


def flux(pipe: FluxPipeline) -> Family:
    guided = pipe.transformer.config.guidance_embeds
    # The schnell kind is neither guided nor made for more text than 256 tokens.
    text = 512 if guided else 256
    tokenizers = {
        "tokenizer": (write_clip, pipe.tokenizer_max_length),
        "tokenizer_2": (write_sentencepiece, text),
    }
    encoders = {"text_encoder": (ClipEncoder, pipe.tokenizer_max_length), "text_encoder_2": (T5Encoder, text)}
    manifest = {
        "family": "flux",
        **noise_fields(pipe.scheduler, "flux"),
        "latent": image_latent(pipe, pipe.default_sample_size, 2, 2),
        "guidance": {"null_branch": True, "embedded": guided, "default": 3.5 if guided else 1.0},
        "default_steps": 28 if guided else 4,
    }

    def widths(texts: list[list[int]]) -> dict[str, int]:
        (_, pooled), (tokens,) = texts
        return {"tokens": tokens, "pooled": pooled}

    return Family(
        "flux", flux_denoiser, "transformer", tokenizers, encoders, plain_vae_parts, manifest, widths
    )


def wan(pipe: WanPipeline) -> Family:
    require(pipe.transformer_2 is None, "transformer_2: two-stage models (Wan 2.2 A14B) are not supported")
    vae = pipe.vae.config
    latent = {
        "channels": vae.z_dim,
        "spatial_scale": vae.scale_factor_spatial,
        "frame_scale": vae.scale_factor_temporal,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "height": 480 // vae.scale_factor_spatial,
        "width": 832 // vae.scale_factor_spatial,
        "frames": 80 // vae.scale_factor_temporal + 1,
        "patch": 2,
        "multiple": 2,
    }
    manifest = {
        "family": "wan",
        **noise_fields(pipe.scheduler, "wan"),
        "latent": latent,
        "guidance": {"null_branch": True, "embedded": False, "default": 5.0},
        "default_steps": 50,
    }
    tokenizers = {"tokenizer": (write_sentencepiece, 512)}
    encoders = {"text_encoder": (MaskedT5Encoder, 512)}
    return Family(
        "wan", wan_denoiser, "transformer", tokenizers, encoders, video_vae_parts, manifest,
        lambda texts: {"tokens": texts[0][0]}, {"clean": "web"},
    )  # fmt: skip


FAMILIES: dict[str, Callable[[DiffusionPipeline], Family]] = {
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "WanPipeline": wan,
}


def family_of(pipe: DiffusionPipeline) -> Family:
    return FAMILIES[type(pipe).__name__](pipe)
