"""Golden files of diffusers' schedulers: grids and whole trajectories, for the C++ solvers to match.

    python tools/golden/schedulers.py            writes tests/data/parity/*.safetensors and MANIFEST.json
    python tools/golden/schedulers.py --check    regenerates in memory and compares with what is stored

The network is replaced by a smooth function of its input and its timestep, so that a trajectory tests the
solver alone and any language can reproduce it. Every random tensor is stored: no reader has to share torch's
generator. What each tensor holds is written in the manifest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scheduler_cases import Case, Coefficients, Config, all_cases

Arrays = dict[str, np.ndarray]

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "parity"
SHAPE = (1, 4, 2, 4)
CHECK_TOLERANCE = 1e-6

SCHEDULERS: dict[str, type] = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
    "lcm": diffusers.LCMScheduler,
    "flow_euler": diffusers.FlowMatchEulerDiscreteScheduler,
}
EDM_SCALED = {"euler", "euler_ancestral"}

TENSORS = {
    "noise": "float32 [1,4,2,4], unit variance, before init_noise_sigma",
    "model": "float64 [4], the coefficients p, q, r, s of the model",
    "init_noise_sigma": "float64 [1], what diffusers multiplies the noise by, in diffusers' own scale",
    "timesteps": "float64 [N], what the network is given",
    "sigmas": "float32 [N+1], diffusers' own array (absent where the class has none)",
    "levels": "float64 [N+1,3], (model_time, alpha, sigma) with x = alpha x0 + sigma eps; "
    "model_time of the terminal is 0",
    "targets": "float64 [N,2], (alpha, sigma) a step lands on; present only where it is not the next level",
    "trajectory": "float32 [N+1,1,4,2,4], every state in that scale, from the start to the result",
    "raw_last": "float32 [1,4,2,4], the result in diffusers' scale X = x / alpha "
    "(Euler and Euler ancestral only)",
    "noises": "float32 [K,1,4,2,4], every tensor drawn by the steps, in order (some are multiplied by zero)",
}
MODEL = (
    "p * sin(q * x_in + r * t / 1000) + s * x_in in float32; r * t / 1000 is a double made from the float32 t"
)
TOLERANCE_REASON = (
    "float32 rounding of the reference's own arithmetic; the error of a state is "
    "max |difference| / max |reference|. "
    "A case with a wider tolerance loses digits inside diffusers, in the subtraction named beside it"
)


def model(coefficients: Coefficients, x_in: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    p, q, r, s = coefficients
    return p * torch.sin(q * x_in + r * float(t.float()) / 1000) + s * x_in


def build(case: Case) -> Any:
    scheduler = SCHEDULERS[case.family](**case.config)
    extra: dict[str, Any] = {} if case.mu is None else {"mu": case.mu}
    if case.given_sigmas:
        extra["sigmas"] = np.linspace(1.0, 1 / case.steps, case.steps)
    scheduler.set_timesteps(case.steps, **extra)
    return scheduler


def vp_pair(sigma: np.ndarray) -> np.ndarray:
    alpha = 1 / np.sqrt(sigma**2 + 1)
    return np.stack([alpha, sigma * alpha], axis=-1)


def pairs_and_targets(case: Case, scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sigma) of every level, terminal included, and of where every step lands, in doubles."""
    if case.family in ("ddim", "lcm"):
        return table_pairs(case, scheduler)
    sigma = scheduler.sigmas.double().numpy()
    flow = case.family == "flow_euler" or case.config.get("use_flow_sigmas", False)
    pairs = np.stack([1 - sigma, sigma], axis=-1) if flow else vp_pair(sigma)
    return pairs, pairs[1:]


def table_pairs(case: Case, scheduler: Any) -> tuple[np.ndarray, np.ndarray]:
    def pair(alpha_bar: torch.Tensor) -> tuple[float, float]:
        return float(alpha_bar) ** 0.5, (1 - float(alpha_bar)) ** 0.5

    times = scheduler.timesteps.tolist()
    own = [pair(scheduler.alphas_cumprod[t]) for t in times]
    if case.family == "lcm":  # the last step returns the denoised estimate itself
        landing = own[1:] + [(1.0, 0.0)]
    else:
        before = [t - 1000 // case.steps for t in times]
        landing = [
            pair(scheduler.alphas_cumprod[t] if t >= 0 else scheduler.final_alpha_cumprod) for t in before
        ]
    return np.array([*own, landing[-1]]), np.array(landing)


def drive(
    case: Case, scheduler: Any, generator: torch.Generator, x: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Every state in diffusers' scale, and every tensor the steps drew."""
    module, draws, states = sys.modules[type(scheduler).__module__], [], [x]
    draw = getattr(module, "randn_tensor", None)  # UniPC, which draws nothing, takes no generator either

    def recorded(*args: Any, **kwargs: Any) -> Any:
        draws.append(draw(*args, **kwargs))  # type: ignore[misc]
        return draws[-1]

    options: dict[str, Any] = {"generator": generator} if draw else {}
    if case.eta is not None:
        options["eta"] = case.eta
    scale = getattr(scheduler, "scale_model_input", lambda sample, t: sample)
    with mock.patch.object(module, "randn_tensor", recorded, create=True):
        for t in scheduler.timesteps:
            output = model(case.coefficients, scale(states[-1], t), t)
            states.append(scheduler.step(output, t, states[-1], **options).prev_sample)
    return states, draws


def generate(case: Case) -> Arrays:
    scheduler = build(case)
    generator = torch.Generator("cpu").manual_seed(case.seed)
    noise = torch.randn(SHAPE, generator=generator)
    init = float(getattr(scheduler, "init_noise_sigma", 1.0))
    states, draws = drive(case, scheduler, generator, noise * init)
    pairs, targets = pairs_and_targets(case, scheduler)
    times = scheduler.timesteps.double().numpy()
    trajectory = torch.stack(states)
    arrays = {
        "noise": noise.numpy(),
        "model": np.array(case.coefficients),
        "init_noise_sigma": np.array([init]),
        "timesteps": times,
        "levels": np.column_stack([np.append(times, 0.0), pairs]),
    }
    if hasattr(scheduler, "sigmas"):
        arrays["sigmas"] = scheduler.sigmas.numpy()
    if not np.array_equal(targets, pairs[1:]):
        arrays["targets"] = targets
    if case.family in EDM_SCALED:
        arrays["raw_last"] = states[-1].numpy()
        trajectory = (trajectory.double() * torch.from_numpy(pairs[:, 0]).view(-1, 1, 1, 1, 1)).float()
    arrays["trajectory"] = trajectory.numpy()
    if draws:
        arrays["noises"] = torch.stack(draws).numpy()
    return arrays


def describe(case: Case) -> Config:
    entry: Config = {
        "case": case.name,
        "file": f"{case.family}.safetensors",
        "class": SCHEDULERS[case.family].__name__,
    }
    entry |= {
        "steps": case.steps,
        "seed": case.seed,
        "model": case.coefficients,
        "tolerance": case.tolerance,
        "config": case.config,
    }
    optional = {
        "eta": case.eta,
        "mu": case.mu,
        "image_tokens": case.image_tokens,
        "tolerance_reason": case.tolerance_reason,
    }
    optional["sigmas_given"] = "linspace(1, 1/N, N)" if case.given_sigmas else None
    return entry | {key: value for key, value in optional.items() if value is not None}


def manifest(cases: list[Case]) -> Config:
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "numpy": np.__version__}
    return {
        "generator": "tools/golden/schedulers.py",
        "versions": versions,
        "model": MODEL,
        "tolerance": {"relative": 1e-5, "reason": TOLERANCE_REASON},
        "tensors": {f"<case>/{key}": meaning for key, meaning in TENSORS.items()},
        "cases": [describe(case) for case in cases],
    }


def dump_manifest(content: Config) -> str:
    """JSON with one line per case: a diff then shows which case changed."""
    cases = ",\n".join("  " + json.dumps(entry) for entry in content["cases"])
    head = json.dumps(content | {"cases": []}, indent=1)
    return head.replace('"cases": []', f'"cases": [\n{cases}\n ]') + "\n"


def write(cases: list[Case]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for family in SCHEDULERS:
        members = (case for case in cases if case.family == family)
        tensors = {f"{case.name}/{key}": value for case in members for key, value in generate(case).items()}
        save_file(
            {key: np.ascontiguousarray(value) for key, value in tensors.items()},
            FOLDER / f"{family}.safetensors",
        )
    (FOLDER / "MANIFEST.json").write_text(dump_manifest(manifest(cases)))


def relative_error(value: np.ndarray, reference: np.ndarray) -> float:
    """The largest error of any row, each against the largest entry of its own reference row."""
    if value.shape != reference.shape or not np.isfinite(value).all():
        return float("inf")
    rows = [(v.astype(np.float64), r.astype(np.float64)) for v, r in zip(value, reference, strict=True)]
    return max(float(np.abs(v - r).max() / max(np.abs(r).max(), 1e-12)) for v, r in rows)


def stored(family: str) -> dict[str, Arrays]:
    cases: dict[str, Arrays] = {}
    for key, value in load_file(FOLDER / f"{family}.safetensors").items():
        name, tensor = key.split("/")
        cases.setdefault(name, {})[tensor] = value
    return cases


def problems(case: Case, reference: Arrays) -> list[str]:
    fresh = generate(case)
    if fresh.keys() != reference.keys():
        return [
            f"{case.family}/{case.name}: tensors {sorted(reference)} are stored, {sorted(fresh)} expected"
        ]
    errors = {key: relative_error(fresh[key], reference[key]) for key in fresh}
    # Where diffusers loses digits, how many depends on the processor's instructions.
    allowed = max(CHECK_TOLERANCE, case.tolerance if case.tolerance_reason else 0.0)
    return [
        f"{case.family}/{case.name}/{key}: off by {error:.1e}"
        for key, error in errors.items()
        if error > allowed
    ]


def check_manifest(cases: list[Case]) -> list[str]:
    text = json.loads((FOLDER / "MANIFEST.json").read_text())
    expected = json.loads(dump_manifest(manifest(cases)))
    return [
        f"MANIFEST.json: {key} differs"
        for key in expected
        if key != "versions" and text.get(key) != expected[key]
    ]


def check(cases: list[Case]) -> list[str]:
    files = {family: stored(family) for family in SCHEDULERS}
    found = [line for case in cases for line in problems(case, files[case.family].get(case.name, {}))]
    return found + check_manifest(cases)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the stored files instead of writing them"
    )
    cases = all_cases()
    if not parser.parse_args().check:
        write(cases)
        return 0
    found = check(cases)
    print("\n".join(found) or f"{len(cases)} cases agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
