"""What a bundle carries of a scheduler's configuration, field by field, for every class that it carries."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import diffusers

from .errors import ExportError

Config = Mapping[str, object]
COSINE = "squaredcos_cap_v2"


@dataclass(frozen=True)
class Carried:
    """The value, one of `values` if they are given, becomes a field of model.json."""

    where: str
    values: tuple[object, ...] | None = None


@dataclass(frozen=True)
class NoEffect:
    """No value changes a run, for the reason given."""

    reason: str


@dataclass(frozen=True)
class Computed:
    """Any value: the network's own file computes what it says."""


@dataclass(frozen=True)
class Only:
    """A bundle holds no other value than this one."""

    value: object


@dataclass(frozen=True)
class When:
    """Which of two rules holds depends on the rest of the configuration."""

    text: str
    holds: Callable[[Config], bool]
    rule: Rule
    otherwise: Rule


Rule = Carried | NoEffect | Computed | Only | When
Fields = dict[str, Rule]

SPREADS = {"use_karras_sigmas": "karras", "use_exponential_sigmas": "exponential",
           "use_beta_sigmas": "beta", "use_lu_lambdas": "lu"}  # fmt: skip


def spread(c: Config) -> bool:
    return any(c.get(name) for name in SPREADS)


def karras(c: Config) -> bool:
    return bool(c.get("use_karras_sigmas"))


def flow(c: Config) -> bool:
    return bool(c.get("use_flow_sigmas"))


def dynamic(c: Config) -> bool:
    return bool(c.get("use_dynamic_shifting"))


def leading(c: Config) -> bool:
    return c.get("timestep_spacing") == "leading"


def cosine(c: Config) -> bool:
    return c.get("beta_schedule") == COSINE


def thresholds(c: Config) -> bool:
    return bool(c.get("thresholding"))


def clips(c: Config) -> bool:
    return bool(c.get("clip_sample")) and not thresholds(c)


def clip_fields(place: str, bound: str) -> Fields:
    return {
        "clip_sample": When("thresholding", thresholds, NoEffect("thresholding replaces it"), Carried(place)),
        "clip_sample_range": When("clip_sample", clips, Carried(bound), NoEffect("read only to clip")),
    }


def threshold_fields(place: str, ratio: str, bound: str) -> Fields:
    unread = NoEffect("read only to threshold")
    return {
        "thresholding": Carried(place),
        "dynamic_thresholding_ratio": When("thresholding", thresholds, Carried(ratio), unread),
        "sample_max_value": When("thresholding", thresholds, Carried(bound), unread),
    }


VELOCITIES = ("epsilon", "v_prediction", "sample")
# These classes go on with the noise that belongs to the changed sample, and DDIM with the network's own.
CLIPS = clip_fields("default_filters, clip", "default_filters, clip:range")
THRESHOLDS = threshold_fields(
    "default_filters, threshold", "default_filters, threshold:ratio", "default_filters, threshold:max"
)
NOT_VP = NoEffect("flow sigmas replace it")
SPACING = Carried("schedule.spacing", ("leading", "trailing", "linspace"))
FINAL = Carried("schedule.terminal", ("zero", "sigma_min"))
BOUND = When("karras, exponential or beta sigmas", spread, Carried("schedule.sigma_min, sigma_max"),
             NoEffect("bounds only karras, exponential and beta sigmas"))  # fmt: skip
ZERO_SNR = Carried("schedule.zero_terminal_snr")
OFFSET = When("leading spacing", leading, Carried("schedule.steps_offset"), NoEffect("leading only reads it"))

TABLE: Fields = {
    "num_train_timesteps": Carried("schedule.train_steps"),
    "beta_schedule": Carried("schedule.betas", ("scaled_linear", "linear", COSINE)),
    "beta_start": When("the cosine schedule", cosine, NoEffect("the cosine schedule has none"),
                       Carried("schedule.beta_start")),
    "beta_end": When("the cosine schedule", cosine, NoEffect("the cosine schedule has none"),
                     Carried("schedule.beta_end")),
    "trained_betas": Only(None),
}  # fmt: skip

EULER_ANCESTRAL: Fields = TABLE | {
    "prediction_type": Carried("parameterization", VELOCITIES[:2]),
    "timestep_spacing": SPACING,
    "steps_offset": OFFSET,
    "rescale_betas_zero_snr": ZERO_SNR,
}

EULER: Fields = EULER_ANCESTRAL | {
    "prediction_type": Carried("parameterization", VELOCITIES),
    "interpolation_type": Only("linear"),
    "use_karras_sigmas": Carried("schedule.sigmas"),
    "use_exponential_sigmas": Carried("schedule.sigmas"),
    "use_beta_sigmas": Carried("schedule.sigmas"),
    "sigma_min": BOUND,
    "sigma_max": BOUND,
    "timestep_type": When("v_prediction", lambda c: c.get("prediction_type") == "v_prediction",
                          Only("discrete"), NoEffect("read with v_prediction only")),
    # Decoded in Euler's own scale, sigma_min's latents would be larger than the library's by 1 / alpha.
    "final_sigmas_type": Only("zero"),
}  # fmt: skip

HEUN: Fields = TABLE | {
    "prediction_type": Carried("parameterization", VELOCITIES[:2]),
    "clip_sample": CLIPS["clip_sample"].otherwise,  # it cannot threshold
    "clip_sample_range": CLIPS["clip_sample_range"],
    "use_karras_sigmas": Carried("schedule.sigmas"),
    "use_exponential_sigmas": Carried("schedule.sigmas"),
    "use_beta_sigmas": Carried("schedule.sigmas"),
    "sigma_min": BOUND,
    "sigma_max": BOUND,
    "timestep_spacing": SPACING,
    "steps_offset": OFFSET,
}
KDPM2: Fields = {name: rule for name, rule in HEUN.items() if not name.startswith("clip_sample")} | {
    "use_karras_sigmas": Only(False),  # the only grid whose times it rounds
}

DDIM: Fields = TABLE | {
    "prediction_type": Carried("parameterization", VELOCITIES),
    **clip_fields("default_solver, clip", "default_solver, clip"),
    **threshold_fields(*(f"default_solver, {option}" for option in ("threshold",) * 2 + ("threshold_max",))),
    "set_alpha_to_one": Carried("schedule.final_alpha"),
    "timestep_spacing": SPACING,
    "steps_offset": OFFSET,
    "rescale_betas_zero_snr": ZERO_SNR,
}

LCM: Fields = DDIM | CLIPS | THRESHOLDS | {
    "original_inference_steps": Carried("default_solver, origin_steps"),
    "timestep_scaling": Carried("default_solver, time_scale"),
    "set_alpha_to_one": NoEffect("read for timesteps below 0, which this grid has not"),
    "timestep_spacing": NoEffect("the grid is that of the distillation"),
    "steps_offset": NoEffect("the grid is that of the distillation"),
}

# Fields that DPM-Solver++ and UniPC share, of variance-preserving and of flow models.
MULTISTEP_VP: Fields = TABLE | {
    "prediction_type": Carried("parameterization", VELOCITIES),
    **THRESHOLDS,
    "solver_order": Carried("default_solver, order", (1, 2, 3)),
    "lower_order_final": Carried("default_solver, lower_final"),
    "use_karras_sigmas": Carried("schedule.sigmas"),
    "use_exponential_sigmas": Carried("schedule.sigmas"),
    "use_beta_sigmas": Carried("schedule.sigmas"),
    "sigma_min": BOUND,
    "sigma_max": BOUND,
    "flow_shift": NoEffect("read with flow sigmas only"),
    "final_sigmas_type": FINAL,
    "timestep_spacing": SPACING,
    "steps_offset": OFFSET,
    "rescale_betas_zero_snr": ZERO_SNR,
}
MULTISTEP_FLOW: Fields = MULTISTEP_VP | {
    "beta_schedule": NOT_VP,
    "beta_start": NOT_VP,
    "beta_end": NOT_VP,
    "trained_betas": NOT_VP,
    "prediction_type": Carried("parameterization", ("flow_prediction",)),
    "use_exponential_sigmas": Only(False),
    "use_beta_sigmas": Only(False),
    "flow_shift": Carried("schedule.shift"),
    "final_sigmas_type": Only("zero"),
    "timestep_spacing": NOT_VP,
    "steps_offset": NOT_VP,
    "rescale_betas_zero_snr": NOT_VP,
}
DEIS: Fields = {name: rule for name, rule in MULTISTEP_VP.items() if name != "final_sigmas_type"} | {
    "solver_order": Carried("default_solver, order", (1, 2, 3)),
    "algorithm_type": NoEffect("the class has one"),
    "solver_type": NoEffect("the class has one"),
    "lower_order_final": Only(True),
    # Its spread sigmas end with the last of them twice.
    "use_karras_sigmas": Only(False),
    "use_exponential_sigmas": Only(False),
    "use_beta_sigmas": Only(False),
    "use_flow_sigmas": Only(False),
    "sigma_min": NoEffect("bounds only karras, exponential and beta sigmas"),
    "sigma_max": NoEffect("bounds only karras, exponential and beta sigmas"),
    "use_dynamic_shifting": NoEffect("read with flow sigmas only"),
    "time_shift_type": NoEffect("read with flow sigmas only"),
}
del DEIS["rescale_betas_zero_snr"]
DPM: Fields = {
    "algorithm_type": Carried("default_solver", ("dpmsolver++", "sde-dpmsolver++")),
    "solver_type": Carried("default_solver, form", ("midpoint", "heun")),
    "euler_at_final": Carried("default_solver, euler_final"),
    "variance_type": Only(None),
}
DPM_VP: Fields = MULTISTEP_VP | DPM | {
    "use_lu_lambdas": Carried("schedule.sigmas"),
    "use_flow_sigmas": Only(False),
    "lambda_min_clipped": Only(-math.inf),
    "use_dynamic_shifting": NoEffect("read with flow sigmas only"),
    "time_shift_type": NoEffect("read with flow sigmas only"),
}  # fmt: skip
DPM_FLOW: Fields = MULTISTEP_FLOW | DPM | {
    "use_karras_sigmas": Only(False),
    "use_lu_lambdas": Only(False),
    "use_flow_sigmas": Only(True),
    "lambda_min_clipped": NOT_VP,
    "use_dynamic_shifting": Carried("schedule.shift"),
    "time_shift_type": When("dynamic shifting", dynamic, Only("exponential"),
                            NoEffect("read with dynamic shifting only")),
    "sigma_min": NoEffect("bounds only karras, exponential and beta sigmas"),
    "sigma_max": NoEffect("bounds only karras, exponential and beta sigmas"),
}  # fmt: skip
UNIPC: Fields = {
    "solver_type": Carried("default_solver, form", ("bh1", "bh2")),
    "predict_x0": Only(True),
    "disable_corrector": Carried("default_solver, uncorrected"),
    "solver_p": Only(None),
}
UNIPC_VP: Fields = MULTISTEP_VP | UNIPC | {
    "use_flow_sigmas": Only(False),
    "use_dynamic_shifting": Only(False),
    "time_shift_type": NoEffect("read with dynamic shifting only"),
    "shift_terminal": Only(None),
}  # fmt: skip
# Karras' sigmas of a flow come from the table of betas, whose ends the bundle gets as bounds.
KARRAS_ENDS = When("karras sigmas", karras, Carried("schedule.sigma_min, sigma_max"), NOT_VP)
UNIPC_FLOW: Fields = MULTISTEP_FLOW | UNIPC | {
    "use_flow_sigmas": Only(True),
    "use_dynamic_shifting": Carried("schedule.shift"),
    "time_shift_type": When("dynamic shifting", dynamic, Carried("schedule.shift", ("exponential", "linear")),
                            NoEffect("read with dynamic shifting only")),
    "shift_terminal": When("karras sigmas", karras, NoEffect("karras sigmas replace it"),
                           Carried("schedule.shift_terminal")),
    **{name: KARRAS_ENDS for name in
       ("beta_schedule", "beta_start", "beta_end", "trained_betas", "rescale_betas_zero_snr")},
}  # fmt: skip

SHIFTED = Carried("schedule.shift")
BASE = When("dynamic shifting", dynamic, SHIFTED, NoEffect("read with dynamic shifting only"))
FLOW_GRID: Fields = {
    "num_train_timesteps": Carried("schedule.train_steps"),
    "shift": When("dynamic shifting", dynamic, NoEffect("dynamic shifting replaces it"), SHIFTED),
    "use_dynamic_shifting": SHIFTED,
    "base_shift": BASE,
    "max_shift": BASE,
    "base_image_seq_len": BASE,
    "max_image_seq_len": BASE,
    "time_shift_type": BASE,
    "invert_sigmas": Only(False),
    "shift_terminal": Carried("schedule.shift_terminal"),
    "use_karras_sigmas": Carried("schedule.sigmas"),
    "use_exponential_sigmas": Carried("schedule.sigmas"),
    "use_beta_sigmas": Carried("schedule.sigmas"),
    "sigma_min": BOUND,
    "sigma_max": BOUND,
}
FLOW_EULER: Fields = FLOW_GRID | {"stochastic_sampling": Carried("default_solver")}
FLOW_HEUN: Fields = {"num_train_timesteps": FLOW_GRID["num_train_timesteps"], "shift": SHIFTED}
FLOW_LCM: Fields = FLOW_GRID | {
    "scale_factors": Only(None),
    "upscale_mode": NoEffect("read with scale_factors only"),
}

VP_CLASSES: dict[str, Fields] = {
    "EulerDiscreteScheduler": EULER,
    "EulerAncestralDiscreteScheduler": EULER_ANCESTRAL,
    "HeunDiscreteScheduler": HEUN,
    "KDPM2DiscreteScheduler": KDPM2,
    "DDIMScheduler": DDIM,
    "DDIMParallelScheduler": DDIM,
    "DPMSolverMultistepScheduler": DPM_VP,
    "DEISMultistepScheduler": DEIS,
    "UniPCMultistepScheduler": UNIPC_VP,
    "LCMScheduler": LCM,
}
FLOW_CLASSES: dict[str, Fields] = {
    "FlowMatchEulerDiscreteScheduler": FLOW_EULER,
    "FlowMatchHeunDiscreteScheduler": FLOW_HEUN,
    "FlowMatchLCMScheduler": FLOW_LCM,
    "DPMSolverMultistepScheduler": DPM_FLOW,
    "UniPCMultistepScheduler": UNIPC_FLOW,
}


def own_fields(name: str, config: Config, classes: dict[str, Fields]) -> Config:
    """The part of a configuration that the class reads; fails if a bundle cannot hold it.

    Fields that are not in the class's table were left in the file by another class.
    """
    if name not in classes:
        raise ExportError(
            f"scheduler {name}: not supported for this kind of model; supported are {', '.join(classes)}"
        )
    config = {field: config[field] for field in classes[name] if field in config}
    known = defaults(getattr(diffusers, name))
    for field in config:
        check_value(f"scheduler {name}", field, config, classes[name][field], known.get(field))
    return config


@lru_cache(maxsize=None)
def defaults(kind: type) -> dict[str, object]:
    """What a class takes for the fields that its file lacks."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {p.name: None if p.default is p.empty else p.default for p in parameters if p.name != "self"}


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def expected_kind(value: object, default: object) -> str | None:
    """What a value should be if it is not of the kind of the class's default."""
    if isinstance(default, bool):
        return None if value is None or value in (True, False) else "true or false"
    if isinstance(default, int):
        return None if is_number(value) and isinstance(value, int) else "an integer"
    if isinstance(default, float):
        return None if is_number(value) else "a finite number"
    if isinstance(default, str):
        return None if isinstance(value, str) else "a string"
    if isinstance(default, (list, tuple)):
        whole = isinstance(value, (list, tuple)) and all(map(is_number, value))
        return None if whole else "a list of numbers"
    return None if value is None or is_number(value) else "a finite number"


def check_value(place: str, field: str, config: Config, rule: Rule, default: object = None) -> None:
    """Fails, naming `place`, field and value, if a bundle cannot hold the value of a field."""
    value = config[field]
    while isinstance(rule, When):
        rule = rule.rule if rule.holds(config) else rule.otherwise
    told = f"{place}: {field} = {shown(value)} is not supported"
    if isinstance(rule, Only) and not (value == rule.value or not value and not rule.value):
        raise ExportError(f"{told}, only {rule.value!r}")
    if not isinstance(rule, Carried):
        return
    if rule.values is not None:
        value = tuple(value) if isinstance(value, list) else value
        if not any(value == known and type(value) is type(known) for known in rule.values):
            raise ExportError(f"{told}, only {', '.join(map(repr, rule.values))}")
        return
    kind = expected_kind(value, default)
    if kind is not None:
        raise ExportError(f"{told}, only {kind}")
