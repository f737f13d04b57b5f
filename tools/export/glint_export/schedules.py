"""The schedule and the solver of model.json from a scheduler's configuration."""

from __future__ import annotations

from diffusers import SchedulerMixin

from .errors import require
from .scheduler_fields import (
    COSINE,
    FLOW_CLASSES,
    SPREADS,
    VP_CLASSES,
    Config,
    clips,
    dynamic,
    flow,
    karras,
    leading,
    own_fields,
    thresholds,
)

PARAMETERIZATIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}
DPM = "DPMSolverMultistepScheduler"
DEIS = "DEISMultistepScheduler"
UNIPC = "UniPCMultistepScheduler"
DDIM = ("DDIMScheduler", "DDIMParallelScheduler")
FLOW_HEUN = "FlowMatchHeunDiscreteScheduler"
# What SD3's pipeline takes for a field that the scheduler has not. The others take 1.15.
SD3_MAX_SHIFT = 1.16


def configuration(scheduler: SchedulerMixin) -> tuple[str, Config]:
    return type(scheduler).__name__, dict(scheduler.config)


def spreading(name: str, config: Config) -> dict[str, object]:
    """How the noise levels are spread, and between which bounds."""
    used = [value for field, value in SPREADS.items() if config.get(field)]
    require(len(used) < 2, f"scheduler {name}: {' and '.join(used)} sigmas exclude each other")
    if not used:
        return {}
    # DPM-Solver++ spreads Lu's levels over the whole table, whatever the bounds.
    bounded = ("sigma_min", "sigma_max") if used[0] != "lu" else ()
    bounds = {field: config[field] for field in bounded if config.get(field) is not None}
    for field, value in bounds.items():
        require(value > 0, f"scheduler {name}: {field} = {value!r} is not a positive number")
    return {"sigmas": used[0], **bounds}


def vp_schedule(scheduler: SchedulerMixin) -> tuple[dict[str, object], str]:
    """Schedule and parameterization of a variance-preserving model."""
    name, config = configuration(scheduler)
    config = own_fields(name, config, VP_CLASSES)
    schedule: dict[str, object] = {"kind": "vp", "train_steps": config["num_train_timesteps"]}
    schedule["betas"] = config["beta_schedule"]
    if config["beta_schedule"] != COSINE:
        first, last = config["beta_start"], config["beta_end"]
        require(0 < first < last < 1, f"scheduler {name}: betas from {first!r} to {last!r} are not supported")
        schedule |= {"beta_start": first, "beta_end": last}
    if config.get("rescale_betas_zero_snr"):
        schedule["zero_terminal_snr"] = True
    if name != "LCMScheduler":
        schedule["spacing"] = config["timestep_spacing"]
        offset = config["steps_offset"] if leading(config) else 0
        require(
            0 <= offset < config["num_train_timesteps"],
            f"scheduler {name}: steps_offset = {offset!r} is not a timestep",
        )
        schedule["steps_offset"] = offset
    schedule |= spreading(name, config)
    if config.get("final_sigmas_type") == "sigma_min" or name == DEIS:
        schedule["terminal"] = "sigma_min"
    schedule["final_alpha"] = "one" if config.get("set_alpha_to_one") else "first"
    return schedule, PARAMETERIZATIONS[config["prediction_type"]]


def dynamic_shift(name: str, config: Config, family: str) -> dict[str, object]:
    require(
        family in ("sd3", "flux"),
        f"scheduler {name}: use_dynamic_shifting = True is not supported for {family}, whose pipeline gives "
        "the scheduler no mu",
    )
    shift = {
        "base_shift": config.get("base_shift", 0.5),
        "max_shift": config.get("max_shift", SD3_MAX_SHIFT if family == "sd3" else 1.15),
        "base_tokens": config.get("base_image_seq_len", 256),
        "max_tokens": config.get("max_image_seq_len", 4096),
    }
    if config.get("time_shift_type", "exponential") != "exponential":
        shift["form"] = config["time_shift_type"]
    return {"dynamic": shift}


def flow_schedule(scheduler: SchedulerMixin, family: str) -> dict[str, object]:
    """Schedule of a flow model, whose solver is a flow Euler or a multistep one with flow sigmas."""
    name, everything = configuration(scheduler)
    multistep = name in (DPM, UNIPC)
    require(
        not multistep or flow(everything),
        f"scheduler {name}: use_flow_sigmas = False is not supported for a flow model",
    )
    config = own_fields(name, everything, FLOW_CLASSES)
    require(
        name != FLOW_HEUN or family != "flux",
        f"scheduler {name}: not supported for flux, whose pipeline gives the scheduler sigmas",
    )
    schedule: dict[str, object] = {"kind": "flow", "train_steps": config["num_train_timesteps"]}
    schedule["shift"] = config["flow_shift" if multistep else "shift"]
    # DPM-Solver++ shifts dynamically if the pipeline gives it a mu, which only FLUX's and SD3's do.
    if dynamic(config) and not (name == DPM and family == "wan"):
        schedule["shift"] = dynamic_shift(name, everything, family)
    require(
        name != DPM or family != "flux" or dynamic(config),
        f"scheduler {name}: use_dynamic_shifting = False is not supported for flux, whose pipeline gives the "
        "scheduler a mu",
    )
    shift = schedule["shift"]
    require(isinstance(shift, dict) or shift > 0, f"scheduler {name}: a shift of {shift!r} is not positive")
    if config.get("shift_terminal") and not (name == UNIPC and karras(config)):
        terminal = config["shift_terminal"]
        require(0 < terminal < 1, f"scheduler {name}: shift_terminal = {terminal!r} is not between 0 and 1")
        schedule["shift_terminal"] = terminal
    schedule |= spreading(name, config)
    highest = schedule.get("sigma_max", 1.0)
    require(
        multistep or highest <= 1.0,
        f"scheduler {name}: sigma_max = {highest!r} is not supported, a flow's sigmas are at most 1",
    )
    if name == UNIPC and karras(config):
        ratios = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5
        ends = {"sigma_min": ratios[0].item(), "sigma_max": ratios[-1].item()}
        schedule = ends | schedule
    # FLUX's pipeline gives sigmas down to 1/N, unless the file says that the scheduler has flow sigmas of its
    # own, whether its class reads that or not. The same holds for the ends of a dynamic shift.
    given = family == "flux" and not flow(everything)
    schedule["last_sigma"] = "per_step" if given else "training"
    return schedule


def in_range(name: str, config: Config, field: str, low: float, high: float) -> object:
    value = config[field]
    require(
        isinstance(value, (int, float)) and low <= value <= high,
        f"scheduler {name}: {field} = {value!r} is not supported, only {low:g} to {high:g}",
    )
    return value


def clean_sample(name: str, config: Config) -> dict[str, object]:
    """What the scheduler does to the clean sample: `clip`, or `ratio` and `max` of thresholding."""
    if thresholds(config):
        return {
            "ratio": in_range(name, config, "dynamic_thresholding_ratio", 0, 1),
            "max": in_range(name, config, "sample_max_value", 1e-6, 1e9),
        }
    return {"clip": in_range(name, config, "clip_sample_range", 1e-6, 1e9)} if clips(config) else {}


def default_filters(scheduler: SchedulerMixin) -> list[str]:
    """The library's filters that do what the scheduler does to the clean sample, as --with takes them."""
    name, config = configuration(scheduler)
    known = (VP_CLASSES | FLOW_CLASSES)[name]
    if name in DDIM:
        return []
    match clean_sample(name, {field: config[field] for field in known if field in config}):
        case {"clip": bound}:
            return [f"clip:range={bound}"]
        case {"ratio": ratio, "max": most}:
            return [f"threshold:ratio={ratio},max={most}"]
        case _:
            return []


def default_solver(scheduler: SchedulerMixin) -> str:
    """The library's solver with the options that differ from its own defaults, as --solver takes it."""
    name, config = configuration(scheduler)
    options: dict[str, object] = {}
    if name in (DPM, UNIPC):
        options["order"] = config["solver_order"], 2
        options["form"] = config["solver_type"], "midpoint" if name == DPM else "bh2"
        options["lower_final"] = config["lower_order_final"], True
    if name == DPM:
        options["euler_final"] = config["euler_at_final"], False
        solver = "dpmpp-2m-sde" if config["algorithm_type"].startswith("sde") else "dpmpp-2m"
    elif name == UNIPC:
        solver, steps = "unipc", list(config["disable_corrector"])
        require(
            steps == list(range(len(steps))),
            f"scheduler {name}: disable_corrector = {steps!r} is not supported, only the first steps",
        )
        options["uncorrected"] = len(steps), 0
        require(
            config["lower_order_final"] or config["solver_order"] == 1
            or config["final_sigmas_type"] != "zero",
            f"scheduler {name}: lower_order_final = False is not supported with final_sigmas_type 'zero', "
            "where the last step is infinite",
        )  # fmt: skip
    elif name == DEIS:
        solver = "deis"
        options["order"] = config["solver_order"], 2
    elif name == "LCMScheduler":
        solver = "lcm"
        options["origin_steps"] = config["original_inference_steps"], 50
        options["time_scale"] = config["timestep_scaling"], 10.0
    elif name in DDIM:
        solver, changed = "ddim", clean_sample(name, config)
        options["clip"] = changed.get("clip"), None
        options["threshold"] = changed.get("ratio"), None
        options["threshold_max"] = changed.get("max", 1.0), 1.0
    elif name == "FlowMatchEulerDiscreteScheduler":
        solver = "lcm" if config["stochastic_sampling"] else "flow-euler"
    else:
        solver = SOLVERS[name]
    changed = [f"{key}={text(value)}" for key, (value, default) in options.items() if value != default]
    return solver + (":" + ",".join(changed) if changed else "")


SOLVERS = {
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-ancestral",
    "HeunDiscreteScheduler": "heun",
    "KDPM2DiscreteScheduler": "dpm2",
    FLOW_HEUN: "heun",
    "FlowMatchLCMScheduler": "lcm",
}


def text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def noise_fields(scheduler: SchedulerMixin, family: str) -> dict[str, object]:
    """The fields of model.json that a scheduler decides, driven as the family's pipeline drives it."""
    if family == "sdxl":
        schedule, parameterization = vp_schedule(scheduler)
    else:
        schedule, parameterization = flow_schedule(scheduler, family), "velocity"
    fields = {"parameterization": parameterization, "schedule": schedule}
    fields["default_solver"] = default_solver(scheduler)
    filters = default_filters(scheduler)
    return fields | ({"default_filters": filters} if filters else {})
