"""Every option of diffusers' schedulers: refused by the exporter, or a run for the library to reproduce.

    python tools/golden/scheduler_options.py            writes tests/data/parity/scheduler_options.*
    python tools/golden/scheduler_options.py --check    compares what is stored with what is made today

Each case is a scheduler class of diffusers with one option changed, or one of 200 drawn by a seed, driven as
the pipeline of a family drives it. The exporter refuses it by name, diffusers itself cannot run it, or the
JSON file has the fields of model.json that it becomes and the safetensors file, in the same order, its final
latents. Cases that become the same fields are one run there; diffusers' latents of them must be the same.
scheduler_denoiser.pt is the network of these runs, p sin(q x + r t / 1000) + s x with p, q, r, s as tokens.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import random
import sys
import types
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from unittest import mock

import diffusers
import numpy as np
import torch
from diffusers import ConfigMixin, SchedulerMixin, configuration_utils
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps
from safetensors.torch import load_file, save_file
from scheduler_cases import NOISE_MODEL, OTHER_MODEL, Coefficients, Config
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from glint_export import archives  # noqa: E402
from glint_export.errors import ExportError  # noqa: E402
from glint_export.scheduler_fields import FLOW_CLASSES, VP_CLASSES  # noqa: E402
from glint_export.schedules import SD3_MAX_SHIFT, noise_fields  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "tests/data/parity"
SHAPE = (1, 1, 4, 4)
TOKENS = 4  # of 2 x 2 latent pixels
STEPS = (7, 16)  # fewer than 15 and more: two rules of the multistep solvers, the others take the first
RANDOM = 200
FAMILIES = ("sdxl", "sd3", "flux", "wan")
SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}

PREDICTIONS = ["epsilon", "v_prediction", "sample", "flow_prediction"]
SPREAD = {"use_karras_sigmas": [True], "use_exponential_sigmas": [True], "use_beta_sigmas": [True],
          "use_lu_lambdas": [True]}  # fmt: skip
VALUES: dict[str, list[object]] = SPREAD | {
    "num_train_timesteps": [800],
    "beta_start": [0.0005],
    "beta_end": [0.015],
    "beta_schedule": ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"],
    "trained_betas": [[0.0001 + 0.00002 * i for i in range(1000)]],
    "prediction_type": PREDICTIONS,
    "interpolation_type": ["log_linear"],
    "sigma_min": [0.05],
    "sigma_max": [9.0],
    "timestep_spacing": ["leading", "trailing", "linspace"],
    "timestep_type": ["continuous"],
    "steps_offset": [1, 7],
    "rescale_betas_zero_snr": [True],
    "final_sigmas_type": ["zero", "sigma_min"],
    "clip_sample": [True, False],
    "clip_sample_range": [0.5],
    "thresholding": [True],
    "dynamic_thresholding_ratio": [0.9],
    "sample_max_value": [2.0],
    "set_alpha_to_one": [True, False],
    "solver_order": [1, 2, 3],
    "solver_type": ["midpoint", "heun", "bh1", "bh2", "logrho"],
    "algorithm_type": ["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++", "deis"],
    "lower_order_final": [True, False],
    "euler_at_final": [True],
    "use_flow_sigmas": [True, False],
    "flow_shift": [3.0, 5.0],
    "lambda_min_clipped": [-5.1],
    "variance_type": ["learned", "learned_range", "fixed_small", "fixed_large"],
    "use_dynamic_shifting": [True, False],
    "time_shift_type": ["linear"],
    "predict_x0": [False],
    "disable_corrector": [[0], [0, 1], [2]],
    "shift_terminal": [0.1],
    "original_inference_steps": [25, 100],
    "timestep_scaling": [5.0],
    "shift": [3.0, 3.1],
    "base_shift": [0.7],
    "max_shift": [1.3],
    "base_image_seq_len": [128],
    "max_image_seq_len": [2048],
    "invert_sigmas": [True],
    "stochastic_sampling": [True],
    "scale_factors": [[0.5, 0.5]],
    "upscale_mode": ["nearest"],
}
SPREADING: list[Config] = [{"use_karras_sigmas": True}, {"use_beta_sigmas": True}]
# Fields that are read beside others only.
READ_BESIDE: dict[str, list[Config]] = {
    "sigma_min": SPREADING,
    "sigma_max": SPREADING,
    "clip_sample": [{"thresholding": True}],
    "clip_sample_range": [{"clip_sample": True}],
    "dynamic_thresholding_ratio": [{"thresholding": True, "sample_max_value": 100.0}],
    "sample_max_value": [{"thresholding": True}],
}
# From any scheduler's file.
READ_BY_PIPELINES = ("use_flow_sigmas", "use_dynamic_shifting", "base_shift", "max_shift",
                     "base_image_seq_len", "max_image_seq_len")  # fmt: skip
REQUIRED = {
    "VQDiffusionScheduler": {"num_vec_classes": 16},
    "AmusedScheduler": {"mask_token_id": 1},
    "RFD4ProteinaScheduler": {"schedule_mode": "linear", "noise_mode": "tan", "tsr_k": 1.0, "tsr_sigma": 1.0},
}


def prediction(x: Tensor, time: Tensor, p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> Tensor:
    return p * torch.sin(q * x + r * time.view(-1, 1, 1, 1) / 1000) + s * x


class Denoiser(nn.Module):
    """p sin(q x + r t / 1000) + s x, its coefficients the tokens [B,1,4]."""

    def forward(self, latents: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        return prediction(latents, time, *(tokens[:, 0, i].view(-1, 1, 1, 1) for i in range(4)))


@dataclass(frozen=True)
class Case:
    name: str
    kind: str  # the scheduler's class
    family: str
    config: Config
    steps: int

    @property
    def supported(self) -> bool:
        return self.kind in (VP_CLASSES if self.family == "sdxl" else FLOW_CLASSES)

    @property
    def coefficients(self) -> Coefficients:
        noise = self.config.get("prediction_type", "epsilon") == "epsilon" and self.family == "sdxl"
        return NOISE_MODEL if noise else OTHER_MODEL


@dataclass
class Run:
    """What a bundle has of one or more cases, and the latents that all of them end with."""

    first: Case
    fields: dict[str, object]
    latents: Tensor
    names: list[str]

    def told(self) -> dict[str, object]:
        drawn = sum(name.startswith("random/") for name in self.names)
        case = self.first
        about = {"name": case.name, "cases": len(self.names), "drawn": drawn, "steps": case.steps}
        return about | {"seed": seed_of(case, self.fields), "model": case.coefficients} | self.fields


def seed_of(case: Case, fields: dict[str, object]) -> int:
    return zlib.crc32(f"{case.steps} {json.dumps(fields)}".encode()) & 0x7FFFFFFF


@lru_cache(maxsize=None)
def beta_quantile(p: float, a: float, b: float) -> float:
    """What scipy.stats.beta.ppf returns, which diffusers asks for, of symmetric distributions."""
    if a != b:
        raise ValueError(f"beta_quantile: expected equal shapes, got {a} and {b}")
    if p > 0.5:
        return 1.0 - beta_quantile(1.0 - p, a, b)
    wanted = p * math.exp(2 * math.lgamma(a) - math.lgamma(2 * a))
    low, high = 0.0, 0.5
    for _ in range(100):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if incomplete_beta(a, b, middle) < wanted else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The integral of t^(a-1) (1-t)^(b-1) from 0 to x <= 1/2, by the power series of (1-t)^(b-1)."""
    term, total = 1.0, 1.0 / a
    for n in range(1, 64):
        term *= (n - b) / n * x
        total += term / (a + n)
    return x**a * total


@lru_cache(maxsize=None)
def classes() -> dict[str, type]:
    found = {}
    # To look at all that diffusers has would import all of it.
    for name in sorted({*dir(diffusers)} & {*dir(diffusers.schedulers)}):
        kind = getattr(diffusers, name)
        if inspect.isclass(kind) and issubclass(kind, SchedulerMixin) and kind is not SchedulerMixin:
            found[name] = kind
    return found


def parameters(kind: type) -> dict[str, object]:
    signature = inspect.signature(kind.__init__).parameters.items()
    return {name: p.default for name, p in signature if name not in ("self", "kwargs")}


def base(name: str, kind: type, family: str) -> Config:
    """A configuration that the family's pipeline runs with, if the class suits it."""
    known = parameters(kind)
    config = {key: value for key, value in SCALED_LINEAR.items() if key in known}
    config |= {key: False for key in ("clip_sample",) if key in known} | REQUIRED.get(name, {})
    if family != "sdxl" and "use_flow_sigmas" in known:
        config |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        config["use_dynamic_shifting"] = family == "flux"
    return config


def changes(default: object, field: str) -> list[object]:
    if field in VALUES:
        return VALUES[field]
    if isinstance(default, bool):
        return [not default]
    return [default * 2 + 1] if isinstance(default, (int, float)) else []


def option_cases() -> Iterator[Case]:
    for (name, kind), family in ((item, f) for item in classes().items() for f in FAMILIES):
        supported = Case("", name, family, {}, 0).supported
        if not supported and family in ("flux", "wan"):
            continue  # no different from sd3: a class is refused for flow models at once
        start, known = base(name, kind, family), parameters(kind)
        plain = {f"{name}/{family}/default": REQUIRED.get(name, {}), f"{name}/{family}/base": start}
        # Diffusers reads these two although few classes list them.
        hidden = {} if not supported else {"sigma_min": None, "sigma_max": None}
        for field, default in (hidden | known).items():
            for i, value in enumerate(changes(default, field)):
                changed = start | {field: value}
                plain[f"{name}/{family}/{field}-{i}"] = changed
                for others in READ_BESIDE.get(field, ()) if supported else ():
                    plain[f"{name}/{family}/{field}-{'-'.join(others)}"] = changed | others
        if supported:  # what other classes left in the file
            read = {*known, *hidden, *READ_BY_PIPELINES}
            foreign = {field: values[0] for field, values in VALUES.items() if field not in read}
            plain[f"{name}/{family}/foreign"] = foreign | start
            if family != "sdxl":
                for field in READ_BY_PIPELINES:
                    plain[f"{name}/{family}/pipeline-{field}"] = start | {field: VALUES[field][0]}
        multistep = supported and "solver_order" in known
        for case, config in plain.items():
            for steps in STEPS if multistep else STEPS[:1]:
                yield Case(f"{case}/{steps}", name, family, config, steps)


def random_cases(seed: int = 20261127) -> Iterator[Case]:
    """Schedulers of classes that are supported, with a few options at once; most of them carried alone."""
    draw, kinds = random.Random(seed), classes()
    known = [(f, n) for f in FAMILIES for n in (VP_CLASSES if f == "sdxl" else FLOW_CLASSES)]

    @lru_cache(maxsize=None)
    def carried(family: str, name: str, field: str) -> list[object]:
        start = base(name, kinds[name], family)
        return [value for value in VALUES.get(field, [])
                if is_carried(Case("", name, family, start | {field: value}, 7))]  # fmt: skip

    for i in range(RANDOM):
        family = draw.choice(("sdxl", "sdxl", "sdxl", *FAMILIES[1:]))
        name = draw.choice([n for f, n in known if f == family])
        config, fields = base(name, kinds[name], family), list(parameters(kinds[name]))
        for field in draw.sample(fields, draw.randint(2, min(6, len(fields)))):
            anything = draw.random() < 0.03
            values = VALUES.get(field, []) if anything else carried(family, name, field)
            if values:
                config[field] = draw.choice(values)
        yield Case(f"random/{i}", name, family, config, draw.choice((4, 7, 12, 16, 20, 25)))


def built(case: Case) -> SchedulerMixin:
    """As a folder gives it: keys that the class does not know stay in its configuration."""
    kind = classes()[case.kind]
    if not hasattr(kind, "_sigma_to_t"):
        return kind.from_config(dict(case.config))
    # Some constructors spread a thousand levels, which is slow, and drive does it with the case's own steps.
    with mock.patch.object(kind, "_sigma_to_t", lambda *_: 0.0):
        return kind.from_config(dict(case.config))


@lru_cache(maxsize=None)
def accepted_by(kind: type) -> tuple[str, ...]:
    return tuple(inspect.signature(kind.step).parameters)


def drive(case: Case, scheduler: SchedulerMixin, seed: int) -> Tensor:
    """Final latents of the family's loop around this scheduler."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator)
    config, options = scheduler.config, {}
    if case.family == "flux" or case.family == "sd3" and config.get("use_dynamic_shifting"):
        top = SD3_MAX_SHIFT if case.family == "sd3" else 1.15
        options["mu"] = calculate_shift(
            TOKENS, config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096),
            config.get("base_shift", 0.5), config.get("max_shift", top),
        )  # fmt: skip
    if case.family == "flux" and not config.get("use_flow_sigmas"):
        options["sigmas"] = np.linspace(1.0, 1 / case.steps, case.steps)
    times, _ = retrieve_timesteps(scheduler, case.steps, "cpu", **options)
    if case.family == "sdxl":
        x = x * scheduler.init_noise_sigma
    accepted = accepted_by(type(scheduler))
    # SD3's, FLUX's and Wan's pipelines leave noise to torch's global generator.
    known = {"generator": generator} | ({"eta": 0.0} if case.family == "sdxl" else {})
    known = {name: value for name, value in known.items() if name in accepted}
    coefficients = torch.tensor(case.coefficients).view(4, 1, 1, 1, 1).unbind()
    for t in times:
        seen = scheduler.scale_model_input(x, t) if case.family == "sdxl" else x
        x = scheduler.step(prediction(seen, t.float(), *coefficients), t, x, **known, return_dict=False)[0]
    return x


def prepare_diffusers() -> None:
    """Gives it the quantiles of scipy, which is not among the pins, and remembers the fields of classes."""
    classes()  # imports them
    stats = types.SimpleNamespace(beta=types.SimpleNamespace(ppf=beta_quantile))
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("diffusers.schedulers.scheduling_"):
            if hasattr(module, "is_scipy_available"):
                module.is_scipy_available = lambda: True
                module.scipy = types.SimpleNamespace(stats=stats)
    remembering = types.SimpleNamespace(**vars(inspect))
    remembering.signature = lru_cache(maxsize=None)(inspect.signature)
    configuration_utils.inspect = remembering
    fields = lru_cache(maxsize=None)(ConfigMixin._get_init_keys)
    ConfigMixin._get_init_keys = staticmethod(lambda kind: set(fields(kind)))


known_outcomes: dict[tuple[str, str, str], bool] = {}


def is_carried(case: Case) -> bool:
    """Whether the exporter carries a case, as its outcome was if there was one."""
    key = (case.kind, case.family, json.dumps(case.config))
    return known_outcomes[key] if key in known_outcomes else not isinstance(outcome(case), str)


def outcome(case: Case) -> tuple[SchedulerMixin, dict[str, object]] | str:
    """The scheduler and the fields of model.json, or why there are none."""
    found = tried(case)
    known_outcomes[case.kind, case.family, json.dumps(case.config)] = not isinstance(found, str)
    return found


def tried(case: Case) -> tuple[SchedulerMixin, dict[str, object]] | str:
    try:
        scheduler = built(case)
    except Exception as error:
        return f"diffusers: {type(error).__name__}"
    try:
        return scheduler, noise_fields(scheduler, case.family)
    except ExportError as error:
        return str(error)


def latents_of(case: Case, scheduler: SchedulerMixin, fields: dict[str, object]) -> Tensor | str:
    """What diffusers makes of a case that is carried, or why it makes nothing."""
    try:
        latents = drive(case, scheduler, seed_of(case, fields))
    except Exception as error:
        return f"diffusers: {type(error).__name__}"
    return latents if bool(latents.isfinite().all()) else "diffusers: not finite"


def everything() -> tuple[list[Run], dict[str, str]]:
    """Runs, and refusals by the name of their case."""
    prepare_diffusers()
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # the tensors are tiny
    runs: dict[tuple[int, str], Run] = {}
    refused: dict[str, str] = {}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for case in (*option_cases(), *random_cases()):
            found = outcome(case)
            latents = found if isinstance(found, str) else latents_of(case, *found)
            if isinstance(latents, str):
                refused[case.name] = latents
                continue
            fields = found[1]
            run = runs.setdefault((case.steps, json.dumps(fields)), Run(case, fields, latents, []))
            run.names.append(case.name)
            if not torch.allclose(latents, run.latents, rtol=1e-5, atol=1e-5):
                raise ValueError(f"{case.name} and {run.first.name} differ, but become the same bundle")
    return list(runs.values()), refused


def counts(runs: list[Run], refused: dict[str, str]) -> str:
    names = [name for run in runs for name in run.names]
    drawn = sum(name.startswith("random/") for name in names)
    unbuilt = sum(reason.startswith("diffusers: ") for reason in refused.values())
    kinds = Counter(name.split("/")[0] for name in names if not name.startswith("random/"))
    each = ", ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
    return (
        f"{len(names)} schedulers are carried, as {len(runs)} runs ({each}; {drawn} of {RANDOM} drawn), "
        f"{len(refused) - unbuilt} are refused by name, {unbuilt} diffusers cannot run itself"
    )


def dump(runs: list[Run]) -> str:
    lines = ",\n".join(json.dumps(run.told()) for run in runs)
    return f"[\n{lines}\n]\n"


def stacked(runs: list[Run]) -> Tensor:
    return torch.cat([run.latents for run in runs]).contiguous()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare with the stored files")
    check = parser.parse_args().check
    runs, refused = everything()
    print(counts(runs, refused))
    if check:
        same = (DATA / "scheduler_options.json").read_text() == dump(runs)
        stored = load_file(DATA / "scheduler_options.safetensors")["latents"] if same else stacked(runs)
        return 0 if same and torch.allclose(stored, stacked(runs), rtol=1e-4, atol=1e-4) else 1
    save_file({"latents": stacked(runs)}, DATA / "scheduler_options.safetensors")
    (DATA / "scheduler_options.json").write_text(dump(runs))
    example = torch.randn(SHAPE), torch.ones(1), torch.ones(1, 1, 4)
    archives.write_torchscript(Denoiser(), example, DATA / "scheduler_denoiser.pt")
    for name, reason in refused.items():
        print(f"{name}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
