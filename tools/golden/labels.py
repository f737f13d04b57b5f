"""The times that diffusers' schedulers give to networks, for every number of steps from 1 to 1,000.

    python tools/golden/labels.py            writes tests/data/parity/labels.json
    python tools/golden/labels.py --check    compares what is stored with what diffusers gives

Times are told apart to the last bit, so the file has, of each grid and number of steps, the first 4 hex
digits of the SHA-256 of its times as little-endian float32; "none" where diffusers fails or takes another
number of steps.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import diffusers
import generated
import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from scheduler_cases import Config
from scheduler_options import SCALED_LINEAR

FILE = Path(__file__).resolve().parents[2] / "tests/data/parity/labels.json"
MOST = 1000


def vp(kind: type, spacing: str, **changes: object) -> tuple[SchedulerMixin, Config]:
    config = SCALED_LINEAR | {"timestep_spacing": spacing, "steps_offset": int(spacing == "leading")}
    told = {"kind": "vp", **changes_told(config)}
    return kind(**config, **changes), told


def changes_told(config: Config) -> Config:
    return {
        "betas": config["beta_schedule"], "beta_start": config["beta_start"], "beta_end": config["beta_end"],
        "spacing": config["timestep_spacing"], "steps_offset": config["steps_offset"],
    }  # fmt: skip


def grids() -> dict[str, tuple[str, Config, int, SchedulerMixin]]:
    """By name: the library's solver, its schedule in model.json, image tokens or 0, and the scheduler."""
    found = {}
    for spacing in ("leading", "trailing", "linspace"):
        for solver, kind in (("euler", diffusers.EulerDiscreteScheduler), ("ddim", diffusers.DDIMScheduler),
                             ("dpmpp-2m", diffusers.DPMSolverMultistepScheduler),
                             ("unipc", diffusers.UniPCMultistepScheduler)):  # fmt: skip
            scheduler, told = vp(kind, spacing)
            found[f"sdxl {solver} {spacing}"] = solver, told, 0, scheduler
    scheduler, told = vp(diffusers.LCMScheduler, "leading")
    found["sdxl lcm"] = "lcm", told, 0, scheduler
    for shift in (1.0, 3.0, 3.1, 6.7):
        told = {"kind": "flow", "shift": shift}
        euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        found[f"sd3 shift {shift:g}"] = "flow-euler", told | {"last_sigma": "training"}, 0, euler
        found[f"flux shift {shift:g}"] = "flow-euler", told | {"last_sigma": "per_step"}, 0, euler
        flow = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
        told |= {"last_sigma": "training"}
        found[f"wan unipc shift {shift:g}"] = "unipc", told, 0, diffusers.UniPCMultistepScheduler(**flow)
        dpm = diffusers.DPMSolverMultistepScheduler(**flow)
        found[f"wan dpmpp-2m shift {shift:g}"] = "dpmpp-2m", told, 0, dpm
    for tokens, form in ((256, "exponential"), (1024, "exponential"), (3600, "exponential"),
                         (4096, "exponential"), (4096, "linear")):  # fmt: skip
        dynamic = {"base_shift": 0.5, "max_shift": 1.15, "base_tokens": 256, "max_tokens": 4096, "form": form}
        euler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type=form)
        for family, last in (("flux", "per_step"), ("sd3", "training")):
            told = {"kind": "flow", "shift": {"dynamic": dynamic}, "last_sigma": last}
            found[f"{family} {tokens} tokens {form}"] = "flow-euler", told, tokens, euler
    return found


def times(scheduler: SchedulerMixin, tokens: int, given: bool, steps: int) -> np.ndarray | None:
    options = {"mu": calculate_shift(tokens, 256, 4096, 0.5, 1.15)} if tokens else {}
    try:
        if given:
            scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), **options)
        else:
            scheduler.set_timesteps(steps, **options)
    except (ValueError, ZeroDivisionError, IndexError):
        return None
    found = scheduler.timesteps.to(torch.float32).numpy()
    # DDIM looks timesteps up in its table when it steps.
    outside = isinstance(scheduler, diffusers.DDIMScheduler) and found.max() >= MOST
    return found if len(found) == steps and not outside else None


def digest(values: np.ndarray | None) -> str:
    return "none" if values is None else hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:4]


def content() -> list[Config]:
    found = []
    for name, (solver, told, tokens, scheduler) in grids().items():
        given = told.get("last_sigma") == "per_step"
        digests = "".join(digest(times(scheduler, tokens, given, steps)) for steps in range(1, MOST + 1))
        found.append({"grid": name, "solver": solver, "schedule": told, "tokens": tokens, "times": digests})
    return found


def source() -> str:
    torch.set_num_threads(1)  # the tensors are tiny
    return "[\n" + ",\n".join(json.dumps(grid) for grid in content()) + "\n]\n"


if __name__ == "__main__":
    sys.exit(generated.main(__doc__, FILE, source))
