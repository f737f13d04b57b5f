"""Golden trajectories of the solvers that predict several times a step or have no scheduler in diffusers.

    python tools/golden/solvers.py            writes tests/data/parity/solvers.{json,safetensors}
    python tools/golden/solvers.py --check    regenerates in memory and compares with what is stored

Where diffusers has the solver, its scheduler is driven as a pipeline drives it; otherwise the published
equations run in float64 (solver_equations.py) on the grid of diffusers' Euler scheduler. The network is the
function of schedulers.py. A case names solver, options and grid as glint does.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import types
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import diffusers
import mpmath
import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from scheduler_cases import NOISE_MODEL, OTHER_MODEL, Config, vp
from schedulers import CHECK_TOLERANCE, FOLDER, SHAPE, Arrays, model, relative_error
from solver_equations import EQUATIONS, Level, Problem, doubles
from torch import Tensor

sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))  # its noise is replaced below
from diffusers.schedulers.scheduling_dpmsolver_sde import DPMSolverSDEScheduler  # noqa: E402


def beta_quantile(p: float, a: float, b: float) -> float:
    """What diffusers asks scipy for, to 30 digits."""
    with mpmath.workdps(30):
        low, high = mpmath.mpf(0), mpmath.mpf(1)
        for _ in range(90):
            middle = (low + high) / 2
            if mpmath.betainc(a, b, 0, middle, regularized=True) < p:
                low = middle
            else:
                high = middle
        return float(high)


def without_scipy() -> None:
    beta = types.SimpleNamespace(ppf=beta_quantile)
    scipy = types.SimpleNamespace(stats=types.SimpleNamespace(beta=beta))
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers.schedulers.scheduling_") and hasattr(module, "is_scipy_available"):
            module.is_scipy_available = lambda: True
            module.scipy = scipy

TWO_STAGES: dict[str, type] = {
    "heun": diffusers.HeunDiscreteScheduler,
    "dpm2": diffusers.KDPM2DiscreteScheduler,
    "dpmpp-sde": DPMSolverSDEScheduler,
}
ONE_STAGE: dict[str, type] = {
    "euler": diffusers.EulerDiscreteScheduler,
    "dpmpp-2m": diffusers.DPMSolverMultistepScheduler,
    "deis": diffusers.DEISMultistepScheduler,
}
FLOW: dict[str, type] = {
    "heun": diffusers.FlowMatchHeunDiscreteScheduler,
    "flow-euler": diffusers.FlowMatchEulerDiscreteScheduler,
}


@dataclass(frozen=True)
class Case:
    solver: str
    name: str
    steps: int
    prediction: str = "epsilon"  # a parameterization of diffusers
    options: Config = field(default_factory=dict)  # of glint's solver
    grid: Config = field(default_factory=dict)  # of glint's schedule
    shift: float | None = None  # of a flow
    equations: bool = False
    tolerance: float = 1e-5

    @property
    def seed(self) -> int:
        return zlib.crc32(f"{self.solver}/{self.name}".encode()) & 0x7FFFFFFF

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        return NOISE_MODEL if self.prediction == "epsilon" else OTHER_MODEL


def cases() -> Iterator[Case]:
    for spacing in ("leading", "trailing", "linspace"):
        for solver in TWO_STAGES:
            yield Case(solver, f"{spacing}_eps", 8, grid={"spacing": spacing})
        yield Case("deis", f"{spacing}_eps", 8, grid={"spacing": spacing, "terminal": "sigma_min"})
    for solver in TWO_STAGES:
        yield Case(solver, "v", 8, "v_prediction", grid={"spacing": "linspace"})
        yield Case(solver, "n20", 20, grid={"spacing": "leading"})
        yield Case(solver, "exponential", 8, grid={"spacing": "leading", "sigmas": "exponential"})
    for solver in ("heun", "dpmpp-sde"):  # KDPM2 rounds the times of Karras sigmas, k-diffusion does not
        yield Case(solver, "karras", 8, grid={"spacing": "leading", "sigmas": "karras"})
    for solver in ("euler", "heun", "dpmpp-2m"):
        yield Case(solver, "beta", 12, grid={"spacing": "linspace", "sigmas": "beta"})
    for order in (1, 2, 3):
        for steps in (8, 20):
            grid = {"spacing": "linspace", "terminal": "sigma_min"}
            # diffusers takes the differences that third-order weights are made of in float32.
            tolerance = 3e-5 if order == 3 else 1e-5
            name = f"order{order}_n{steps}"
            yield Case("deis", name, steps, "v_prediction", {"order": order}, grid, tolerance=tolerance)
    for shift in (1.0, 3.0):
        yield Case("heun", f"flow_shift{shift:g}", 8, "flow_prediction", shift=shift)
    yield Case("flow-euler", "beta", 8, "flow_prediction", grid={"sigmas": "beta"}, shift=3.0)
    yield from equation_cases()


def equation_cases() -> Iterator[Case]:
    wide, karras = {"spacing": "linspace"}, {"spacing": "leading", "sigmas": "karras"}
    for solver, options in (
        ("euler", {"churn": 3.0}),
        ("heun", {"churn": 3.0}),
        ("restart", {"low": 0.1, "high": 2.0, "restarts": 2, "restart_steps": 4}),
        ("dpmpp-3m-sde", {"eta": 1.0, "legacy": True}),
        ("dpmpp-3m-sde", {"eta": 0.0, "legacy": True}),
        ("res-2s", {}),
        ("res-multistep", {}),
        *(("er-sde", {"order": order, "noise": "er", "legacy": True}) for order in (1, 2, 3)),
        ("er-sde", {"order": 3, "noise": "sde", "legacy": True}),
        ("er-sde", {"order": 3, "noise": "ode", "legacy": True}),
    ):
        shown = [value for value in options.values() if value is not True]
        tag = "_".join(f"{value:g}" if isinstance(value, float) else str(value) for value in shown)
        for prediction, grid in (("epsilon", karras), ("v_prediction", wide)):
            name = f"{'karras' if grid is karras else 'linspace'}_{tag}".rstrip("_")
            yield Case(solver, name, 12, prediction, options, grid, equations=True)
    for solver in ("dpmpp-3m-sde", "res-2s", "res-multistep", "er-sde"):
        own = {"er-sde": {"order": 3, "noise": "er"}, "dpmpp-3m-sde": {"eta": 1.0}}.get(solver)
        options = own | {"legacy": True} if own else {}
        yield Case(solver, "flow", 12, "flow_prediction", options, shift=3.0, equations=True)


def vp_config(case: Case) -> Config:
    config = vp(case.grid.get("spacing", "leading"), case.prediction)
    sigmas = case.grid.get("sigmas")
    return config | ({f"use_{sigmas}_sigmas": True} if sigmas else {})


def vp_levels(sigmas: np.ndarray, times: np.ndarray) -> list[Level]:
    alphas = 1 / np.sqrt(sigmas.astype(np.float64) ** 2 + 1)
    ts = [*times.tolist(), 0.0]
    return [Level(t, a, s * a) for t, a, s in zip(ts, alphas.tolist(), sigmas.tolist(), strict=True)]


def drive_two_stages(case: Case, x: Tensor, generator: torch.Generator) -> tuple[list[Level], list[Tensor]]:
    scheduler = TWO_STAGES[case.solver](**vp_config(case))
    scheduler.set_timesteps(case.steps)
    if case.solver == "dpmpp-sde":
        scheduler.noise_sampler = BrownianNoise(generator)
    x = x * scheduler.init_noise_sigma
    states = [x]
    for stage, t in enumerate(scheduler.timesteps):
        x = scheduler.step(model(case.coefficients, scheduler.scale_model_input(x, t), t), t, x).prev_sample
        if stage % 2 == 1 or stage == len(scheduler.timesteps) - 1:
            states.append(x)
    times = scheduler.timesteps[::2].double().numpy()
    sigmas = np.concatenate([scheduler.sigmas[:1], scheduler.sigmas[1::2]]).astype(np.float32)
    if case.solver == "dpm2":  # keeps one more sigma
        sigmas = np.concatenate([scheduler.sigmas[:1], scheduler.sigmas[1:-1:2]]).astype(np.float32)
    levels = vp_levels(sigmas[: case.steps + 1], times)
    return levels, [a.alpha * s.double() for a, s in zip(levels, states, strict=True)]


class BrownianNoise:
    """Increments of a Brownian motion over [middle, sigma] and [next, sigma], scaled to unit variance."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.early: tuple[Tensor, Tensor] | None = None

    def __call__(self, sigma: Tensor, to: Tensor) -> Tensor:
        z = torch.randn(SHAPE, generator=self.generator)
        if self.early is None:
            self.early = z, to
            return z
        first, middle = self.early
        self.early = None
        return (first * (sigma - middle).sqrt() + z * (middle - to).sqrt()) / (sigma - to).sqrt()


def drive_one_stage(case: Case, x: Tensor) -> tuple[list[Level], list[Tensor]]:
    flow = case.shift is not None
    if flow:
        changes = {"use_beta_sigmas": True} if case.grid.get("sigmas") == "beta" else {}
        scheduler = FLOW[case.solver](shift=case.shift, **changes)
    else:
        extra = {"solver_order": case.options["order"]} if "order" in case.options else {}
        scheduler = ONE_STAGE[case.solver](**vp_config(case) | extra)
    scheduler.set_timesteps(case.steps)
    x = x * float(getattr(scheduler, "init_noise_sigma", 1.0))
    scale = getattr(scheduler, "scale_model_input", lambda sample, t: sample)
    two = case.solver == "heun"
    states = [x]
    for stage, t in enumerate(scheduler.timesteps):
        x = scheduler.step(model(case.coefficients, scale(x, t), t), t, x).prev_sample
        if not two or stage % 2 == 1 or stage == len(scheduler.timesteps) - 1:
            states.append(x)
    times = scheduler.timesteps[:: 2 if two else 1].double().numpy()
    sigmas = scheduler.sigmas.numpy()
    if two:
        sigmas = np.concatenate([sigmas[:1], sigmas[1::2]])
    if flow:
        levels = [Level(t, 1 - s, s) for t, s in zip([*times.tolist(), 0.0], sigmas.tolist(), strict=True)]
    else:
        levels = vp_levels(sigmas, times)
    scaled = case.solver == "euler"
    return levels, [
        (a.alpha if scaled else 1.0) * s.double() for a, s in zip(levels, states, strict=True)
    ]


def equation_problem(case: Case, generator: torch.Generator) -> Problem:
    def noise() -> Tensor:
        return doubles(torch.randn(SHAPE, generator=generator))

    if case.shift is not None:
        grid = [(1 - 0.001) * (1 - i / case.steps) for i in range(case.steps)]
        sigmas = [case.shift * s / (1 + (case.shift - 1) * s) for s in grid]
        levels = [Level(float(np.float32(1000 * s)), 1 - s, s) for s in map(rounded, sigmas)]
        levels.append(Level(0, 1, 0))

        def flow_at(ratio: float) -> Level:
            sigma = ratio / (1 + ratio)
            return Level(1000 * sigma, 1 - sigma, sigma)

        def from_velocity(x: Tensor, level: Level) -> Tensor:
            return x - level.sigma * network(case, x, level)

        return Problem(levels, from_velocity, flow_at, noise)

    scheduler = diffusers.EulerDiscreteScheduler(**vp_config(case))
    scheduler.set_timesteps(case.steps)
    log_sigmas = np.log(((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt().numpy())

    def vp_at(ratio: float) -> Level:
        alpha = 1 / math.sqrt(1 + ratio * ratio)
        return Level(float(scheduler._sigma_to_t(np.array(ratio), log_sigmas)), alpha, ratio * alpha)

    def denoised(x: Tensor, level: Level) -> Tensor:
        output = network(case, x, level)
        if case.prediction == "epsilon":
            return (x - level.sigma * output) / level.alpha
        return level.alpha * x - level.sigma * output

    levels = vp_levels(scheduler.sigmas.numpy(), scheduler.timesteps.double().numpy())
    return Problem(levels, denoised, vp_at, noise)


def rounded(value: float) -> float:
    return float(np.float32(value))


def network(case: Case, x: Tensor, level: Level) -> Tensor:
    p, q, r, s = case.coefficients
    return p * torch.sin(q * x + r * level.t / 1000) + s * x


def generate(case: Case) -> Arrays:
    generator = torch.Generator("cpu").manual_seed(case.seed)
    noise = torch.randn(SHAPE, generator=generator)
    if case.equations:
        problem = equation_problem(case, generator)
        levels = problem.levels
        first = levels[0]
        # Leading spacing stops short of the last training step and therefore starts at unit variance.
        scale = 1.0 if case.shift is not None or case.grid["spacing"] == "leading" else first.sigma
        states = EQUATIONS[case.solver](problem, doubles(noise) * scale, **case.options)
    elif case.solver in TWO_STAGES and case.shift is None:
        levels, states = drive_two_stages(case, noise, generator)
    else:
        levels, states = drive_one_stage(case, noise)
    return {
        "levels": np.array([[a.t, a.alpha, a.sigma] for a in levels]),
        "trajectory": torch.stack(states).float().numpy(),
    }


def describe(case: Case) -> Config:
    entry = asdict(case) | {"seed": case.seed, "model": case.coefficients}
    return entry | {"source": "equations" if case.equations else "diffusers"}


def manifest(all_cases: list[Case]) -> str:
    head = {
        "generator": "tools/golden/solvers.py",
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "tensors": {
            "<solver>/<case>/levels": "float64 [N+1,3], (model_time, alpha, sigma)",
            "<solver>/<case>/trajectory": "float32 [N+1,1,4,2,4], x = alpha x0 + sigma eps",
        },
        "tolerance": "largest error of a state relative to its largest value, as in MANIFEST.json",
        "cases": [],
    }
    lines = ",\n".join("  " + json.dumps(describe(case)) for case in all_cases)
    return json.dumps(head, indent=1).replace('"cases": []', f'"cases": [\n{lines}\n ]') + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare with the stored files")
    without_scipy()
    all_cases = list(cases())
    tensors = {
        f"{case.solver}/{case.name}/{key}": np.ascontiguousarray(value)
        for case in all_cases
        for key, value in generate(case).items()
    }
    path = FOLDER / "solvers.safetensors"
    if not parser.parse_args().check:
        save_file(tensors, path)
        (FOLDER / "solvers.json").write_text(manifest(all_cases))
        return 0
    stored = load_file(path)
    found = [] if stored.keys() == tensors.keys() else ["other cases are stored"]
    for key in stored.keys() & tensors.keys():
        if (error := relative_error(tensors[key], stored[key])) > CHECK_TOLERANCE:
            found.append(f"{key}: off by {error:.1e}")
    old = json.loads((FOLDER / "solvers.json").read_text())["cases"]
    if json.loads(manifest(all_cases))["cases"] != old:
        found.append("solvers.json: cases differ")
    print("\n".join(found) or f"{len(all_cases)} cases agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
