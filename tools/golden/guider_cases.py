"""The table of golden guidance: what a guider is made with, and the rule that has to give the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]

ORIGINAL = {"use_original_formulation": True}  # c + w (c - u), so w is one less than elsewhere
RAW = {"space": "raw", "form": "diffusers"}  # what APG's guider projects, and what it starts from


@dataclass(frozen=True)
class Case:
    """Some steps of one run: how to make the guider, and the rule inside its filters, innermost first."""

    name: str
    guider: str
    config: Config
    rule: str
    options: Config
    filters: dict[str, Config] = field(default_factory=dict)
    steps: int = 10
    calls: tuple[int, ...] = (0, 1)  # the steps at which branches are combined
    inputs: str = "image"
    note: str | None = None
    tolerance: float = 1e-6
    differs: Config | None = None  # the calls whose result is another one on purpose, and what each gives

    def entry(self) -> Config:
        """What the manifest says of it."""
        entry: Config = {"case": self.name, "guider": self.guider, "config": self.config}
        entry |= {"rule": {"name": self.rule, "options": self.options}}
        entry |= {"filters": [{"name": name, "options": options} for name, options in self.filters.items()]}
        entry |= {"steps": self.steps, "calls": self.calls, "inputs": self.inputs}
        optional = {"note": self.note, "differs": self.differs}
        entry |= {key: value for key, value in optional.items() if value is not None}
        return entry | {"tolerance": self.tolerance}


def window(start: float, stop: float = 1.0) -> Config:
    return {"start": start, "stop": stop}


# fmt: off

def plain() -> Iterator[Case]:
    def case(name: str, config: Config, scale: float, **more: Any) -> Case:
        return Case(f"cfg_{name}", "ClassifierFreeGuidance", config, "cfg", {"scale": scale}, **more)

    yield case("default", {}, 7.5)
    yield case("original", {"guidance_scale": 6.5, **ORIGINAL}, 7.5)
    yield case("negative", {"guidance_scale": -1.5}, -1.5, inputs="video")
    yield case("scale_0", {"guidance_scale": 0.0}, 0.0)
    yield case("scale_1", {"guidance_scale": 1.0}, 1.0)
    yield case("rescale", {"guidance_scale": 5.0, "guidance_rescale": 0.7}, 5.0,
               filters={"rescale": {"phi": 0.7}})
    yield case("rescale_video", {"guidance_scale": 9.0, "guidance_rescale": 1.0}, 9.0,
               filters={"rescale": {"phi": 1.0}}, inputs="video")
    yield case("window", {"guidance_scale": 4.0, "guidance_rescale": 0.5, **window(0.2, 0.8)}, 4.0,
               filters={"interval": window(0.2, 0.8), "rescale": {"phi": 0.5}}, calls=(1, 2, 7, 8))
    yield case("window_rounded", {"guidance_scale": 4.0, **window(0.58)}, 4.0,
               filters={"interval": window(0.58)}, steps=50, calls=(28, 29),
               differs={"calls": [28], "diffusers": "guided", "glint": "cond",
                        "why": "0.58 * 50 is 28.999999999999996 in doubles, and diffusers rounds it down"})


def projected() -> Iterator[Case]:
    momentum, limit = "adaptive_projected_guidance_momentum", "adaptive_projected_guidance_rescale"

    def case(name: str, config: Config, options: Config, **more: Any) -> Case:
        return Case(f"apg_{name}", "AdaptiveProjectedGuidance", config, "apg", RAW | options, **more)

    yield case("default", {}, {})
    # 4 is more than the difference of one sample and less than that of the other.
    yield case("threshold", {"guidance_scale": 6.0, limit: 4.0}, {"scale": 6.0, "threshold": 4.0})
    yield case("eta", {"guidance_scale": 6.0, limit: 0.0, "eta": 0.25},
               {"scale": 6.0, "threshold": 0, "eta": 0.25})
    yield case("momentum", {"guidance_scale": 8.0, limit: 5.0, momentum: -0.75, "eta": 0.0},
               {"scale": 8.0, "threshold": 5.0, "momentum": -0.75, "eta": 0}, calls=(0, 1, 2, 3))
    yield case("original", {"guidance_scale": 4.0, limit: 5.0, momentum: 0.5, "eta": 0.5, **ORIGINAL},
               {"form": "paper", "scale": 5.0, "threshold": 5.0, "momentum": 0.5, "eta": 0.5},
               calls=(0, 1, 2))
    yield case("rescale_video",
               {"guidance_scale": 8.0, limit: 5.0, momentum: -0.5, "eta": 0.0, "guidance_rescale": 0.7},
               {"scale": 8.0, "threshold": 5.0, "momentum": -0.5, "eta": 0},
               filters={"rescale": {"phi": 0.7}}, calls=(0, 1, 2), inputs="video")
    yield case("window", {"guidance_scale": 8.0, momentum: -0.5, "eta": 0.0, **window(0.2, 0.4)},
               {"scale": 8.0, "momentum": -0.5, "eta": 0}, filters={"interval": window(0.2, 0.4)},
               calls=(0, 1, 2, 3, 4), note="the momentum remembers guided steps only")
    yield case("scale_1", {"guidance_scale": 1.0, "eta": 0.0}, {"form": "paper", "scale": 1.0, "eta": 0},
               calls=(0,), note="the guider is off at scale 1, and so is the paper's form")


def mixed() -> Iterator[Case]:
    def case(name: str, config: Config, options: Config, **more: Any) -> Case:
        published = {"scale": 10.0, "eta": 0, "threshold": 10.0, "momentum": -0.5, "warmup_scale": 3.5}
        options = RAW | published | options
        return Case(f"apg_mix_{name}", "AdaptiveProjectedMixGuidance", config, "apg", options, **more)

    start, limit = "adaptive_projected_guidance_start_step", "adaptive_projected_guidance_rescale"
    yield case("default", {start: 1}, {"warmup_steps": 2}, calls=(0, 1, 2, 3),
               note="its start step is the last one of the warm-up")
    yield case("original",
               {"guidance_scale": 2.5, "adaptive_projected_guidance_scale": 9.0, start: 0, limit: 3.0,
                **ORIGINAL},
               {"form": "paper", "warmup_steps": 1, "threshold": 3.0}, calls=(0, 1, 2), inputs="video")
    yield case("warmup_1", {"guidance_scale": 1.0, start: 0}, {"warmup_steps": 1, "warmup_scale": 1.0},
               differs={"calls": [1], "diffusers": "cond", "glint": "guided",
                        "why": "a warm-up at scale 1 turns diffusers' guider off, with the APG after it"})


def zero_star() -> Iterator[Case]:
    def case(name: str, config: Config, options: Config, **more: Any) -> Case:
        guider = "ClassifierFreeZeroStarGuidance"
        return Case(f"zero_star_{name}", guider, config, "cfg-zero-star", options, **more)

    yield case("default", {}, {})
    yield case("steps", {"guidance_scale": 4.0, "zero_init_steps": 2}, {"scale": 4.0, "zero_steps": 2},
               calls=(0, 1, 2), inputs="video")
    yield case("original", {"guidance_scale": 3.0, "zero_init_steps": 0, **ORIGINAL},
               {"scale": 4.0, "zero_steps": 0})
    yield case("rescale", {"guidance_rescale": 0.7}, {}, filters={"rescale": {"phi": 0.7}},
               differs={"calls": [0], "diffusers": "nan", "glint": "zero",
                        "why": "diffusers divides by the zero prediction's spread"})
    yield case("window", window(0.3), {}, filters={"interval": window(0.3)}, calls=(0, 2, 3),
               differs={"calls": [0], "diffusers": "zero", "glint": "cond",
                        "why": "diffusers zeroes steps outside the window too"})


def tangential() -> Iterator[Case]:
    def case(name: str, config: Config, scale: float, **more: Any) -> Case:
        guider = "TangentialClassifierFreeGuidance"
        # Diffusers' singular vectors are float32's: its error in them, enlarged by the scale.
        return Case(f"tcfg_{name}", guider, config, "tcfg", {"scale": scale}, tolerance=1e-5, **more)

    yield case("default", {}, 7.5)
    yield case("original", {"guidance_scale": 3.0, **ORIGINAL}, 4.0, inputs="video")
    yield case("window", {"guidance_rescale": 0.5, **window(0.1)}, 7.5,
               filters={"interval": window(0.1), "rescale": {"phi": 0.5}})


def magnitude() -> Iterator[Case]:
    def case(name: str, config: Config, options: Config, **more: Any) -> Case:
        return Case(f"mambo_g_{name}", "MagnitudeAwareGuidance", config, "mambo-g", options, **more)

    yield case("default", {}, {})
    yield case("alpha", {"guidance_scale": 6.0, "alpha": 1.5}, {"scale": 6.0, "alpha": 1.5}, inputs="video")
    yield case("original", {"guidance_scale": 5.0, "alpha": 2.0, **ORIGINAL}, {"scale": 6.0, "alpha": 2.0})
    yield case("window", {"guidance_rescale": 0.5, **window(0.1)}, {},
               filters={"interval": window(0.1), "rescale": {"phi": 0.5}})


def frequencies() -> Iterator[Case]:
    def case(name: str, config: Config, options: Config, **more: Any) -> Case:
        return Case(f"fdg_{name}", "FrequencyDecoupledGuidance", config, "fdg", options, **more)

    yield case("default", {}, {})
    yield case("wide", {"guidance_scales": [2.0, 6.0]}, {"scale": 2.0, "low_scale": 6.0}, inputs="wide")
    yield case("original", {"guidance_scales": [7.0, 2.0], **ORIGINAL}, {"scale": 8.0, "low_scale": 3.0})
    yield case("orthogonal", {"guidance_scales": [8.0, 3.0], "parallel_weights": 0.0},
               {"scale": 8.0, "low_scale": 3.0, "parallel": 0})
    yield case("parallel", {"guidance_scales": [8.0, 3.0], "parallel_weights": 0.3},
               {"scale": 8.0, "low_scale": 3.0, "parallel": 0.3}, inputs="wide")
    yield case("window", {"guidance_rescale": 0.7, **window(0.1)}, {},
               filters={"interval": window(0.1), "rescale": {"phi": 0.7}})
    yield case("video", {"guidance_scales": [8.0, 3.0]}, {"scale": 8.0, "low_scale": 3.0}, inputs="video")
    yield case("low_scale_1", {"guidance_scales": [8.0, 1.0 + 1e-8]}, {"scale": 8.0, "low_scale": 1.0},
               calls=(0,), note="1 + 1e-8 stands for 1, at which diffusers fails")


def perturbed() -> Iterator[Case]:
    def case(name: str, guider: str, config: Config, options: Config, **more: Any) -> Case:
        return Case(name, guider, config, "perturbation", options, **more)

    # After step int(0.01 * 28) and before int(0.2 * 28): 1 to 4. SD3's pipeline and the rule do not round and
    # take step 5 too, which is therefore not among the calls.
    skip, edges = "skip_layer_guidance_scale", {"steps": 28, "calls": (0, 1, 4, 6)}
    layers = {"skip_layer_guidance_layers": [0]}
    yield case("slg_default", "SkipLayerGuidance", layers, {}, **edges)
    yield case("slg_original", "SkipLayerGuidance", {"guidance_scale": 3.0, **layers, **ORIGINAL},
               {"scale": 4.0}, steps=28, calls=(1,), inputs="video")
    yield case("slg_rescale", "SkipLayerGuidance", {skip: 2.0, "guidance_rescale": 0.7, **layers},
               {"perturbation_scale": 2.0}, filters={"rescale": {"phi": 0.7}}, steps=28, calls=(1, 6))
    yield case("slg_scale_1", "SkipLayerGuidance", {"guidance_scale": 1.0, skip: 3.0, **layers},
               {"scale": 1.0, "perturbation_scale": 2.0}, **edges,
               note="k + g (c - k): without CFG diffusers' scale is one more than the rule's")
    yield case("slg_scale_1_original", "SkipLayerGuidance",
               {"guidance_scale": 0.0, skip: 3.0, **layers, **ORIGINAL},
               {"scale": 1.0, "perturbation_scale": 3.0}, steps=28, calls=(1,))
    yield case("pag_default", "PerturbedAttentionGuidance", {"perturbed_guidance_layers": [0]}, {}, **edges)
    yield case("seg_default", "SmoothedEnergyGuidance", {"seg_guidance_layers": [0]},
               {"start": 0, "stop": 1}, calls=(0, 1, 9), note="step 0 is left out here too")


def weaker() -> Iterator[Case]:
    def case(name: str, config: Config, scale: float, **more: Any) -> Case:
        made = {"auto_guidance_layers": [0], "dropout": 1.0, **config}
        return Case(f"auto_{name}", "AutoGuidance", made, "autoguidance", {"scale": scale}, **more)

    yield case("default", {}, 7.5, note="diffusers weakens the null prompt's branch")
    yield case("original", {"guidance_scale": 1.5, **ORIGINAL}, 2.5, inputs="video")
    yield case("window", {"guidance_scale": 2.5, "guidance_rescale": 0.5, **window(0.1)}, 2.5,
               filters={"interval": window(0.1), "rescale": {"phi": 0.5}})


def degraded() -> Iterator[Case]:
    yield Case("tdg_sdxl", "formula", {"w": 5.5, "gamma": 1.8, "beta": 2.6}, "tdg", {})
    yield Case("tdg_sd3", "formula", {"w": 4.0, "gamma": 1.6, "beta": 2.4},
               "tdg", {"scale": 4.0, "gamma": 1.6, "beta": 2.4}, inputs="video")


def all_guider_cases() -> list[Case]:
    tables = [plain, projected, mixed, zero_star, tangential]
    tables += [magnitude, frequencies, perturbed, weaker, degraded]
    return [case for table in tables for case in table()]
