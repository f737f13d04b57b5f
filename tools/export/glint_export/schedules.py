"""The schedule of model.json from a scheduler's configuration."""

from __future__ import annotations

from diffusers import SchedulerMixin

from .errors import ExportError, require

COSINE = "squaredcos_cap_v2"
BETAS = ("scaled_linear", "linear", COSINE)
PARAMETERIZATIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x0"}


def refuse(config: object, scheduler: str, values: dict[str, object]) -> None:
    """Fails if a configuration has another value than the one that means nothing."""
    for name, plain in values.items():
        value = getattr(config, name, plain)
        require(value == plain, f"scheduler {scheduler}: {name} = {value!r} is not supported")


def vp_schedule(scheduler: SchedulerMixin) -> tuple[dict[str, object], str]:
    """Schedule and parameterization of a variance-preserving model."""
    config, name = scheduler.config, type(scheduler).__name__
    refuse(config, name, {"trained_betas": None, "use_flow_sigmas": False, "use_beta_sigmas": False})
    if config.beta_schedule not in BETAS:
        raise ExportError(f"scheduler {name}: beta_schedule {config.beta_schedule!r} is not known")
    if config.prediction_type not in PARAMETERIZATIONS:
        raise ExportError(f"scheduler {name}: prediction_type {config.prediction_type!r} is not known")
    schedule: dict[str, object] = {"kind": "vp", "train_steps": config.num_train_timesteps}
    schedule["betas"] = config.beta_schedule
    if config.beta_schedule != COSINE:
        schedule |= {"beta_start": config.beta_start, "beta_end": config.beta_end}
    if getattr(config, "rescale_betas_zero_snr", False):
        schedule["zero_terminal_snr"] = True
    schedule["spacing"] = getattr(config, "timestep_spacing", "leading")
    schedule["steps_offset"] = getattr(config, "steps_offset", 0)
    for flag, sigmas in (("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential")):
        if getattr(config, flag, False):
            schedule["sigmas"] = sigmas
    schedule["final_alpha"] = "one" if getattr(config, "set_alpha_to_one", False) else "first"
    return schedule, PARAMETERIZATIONS[config.prediction_type]


def flow_schedule(scheduler: SchedulerMixin, last_sigma: str) -> dict[str, object]:
    """Schedule of a flow model, whose solver is a flow Euler or a multistep one with flow sigmas."""
    config, name = scheduler.config, type(scheduler).__name__
    schedule: dict[str, object] = {"kind": "flow", "train_steps": config.num_train_timesteps}
    if name == "FlowMatchEulerDiscreteScheduler":
        refuse(
            config, name,
            {"invert_sigmas": False, "stochastic_sampling": False, "use_karras_sigmas": False,
             "use_exponential_sigmas": False, "use_beta_sigmas": False},
        )  # fmt: skip
        schedule["shift"] = config.shift
        if getattr(config, "use_dynamic_shifting", False):
            refuse(config, name, {"time_shift_type": "exponential"})
            shift = {"base_shift": config.base_shift, "max_shift": config.max_shift}
            shift |= {"base_tokens": config.base_image_seq_len, "max_tokens": config.max_image_seq_len}
            schedule["shift"] = {"dynamic": shift}
        if getattr(config, "shift_terminal", None):
            schedule["shift_terminal"] = config.shift_terminal
    else:
        require(getattr(config, "use_flow_sigmas", False), f"scheduler {name}: not one of a flow model")
        require(config.prediction_type == "flow_prediction", f"scheduler {name}: expected flow_prediction")
        refuse(config, name, {"use_dynamic_shifting": False, "use_karras_sigmas": False})
        schedule["shift"] = config.flow_shift
    schedule["last_sigma"] = last_sigma
    return schedule


SOLVERS = {
    "EulerDiscreteScheduler": "euler",
    "DDIMScheduler": "ddim",
    "EulerAncestralDiscreteScheduler": "euler-ancestral",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
    "FlowMatchEulerDiscreteScheduler": "flow-euler",
}


def default_solver(scheduler: SchedulerMixin) -> str | None:
    """The library's solver of that name; None leaves the choice to it."""
    return SOLVERS.get(type(scheduler).__name__)
