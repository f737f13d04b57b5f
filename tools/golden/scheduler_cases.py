"""The table of golden trajectories: every grid, parameterization and solver diffusers and glint share."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Config = dict[str, Any]
Coefficients = tuple[float, float, float, float]

# Of p * sin(q * x + r * t / 1000) + s * x. Predicted noise has to be close to x where x is almost all noise:
# a model further away grows by 1 / alpha, and the golden files would then compare rounding errors.
NOISE_MODEL: Coefficients = (0.3, 0.8, 0.3, 0.7)
OTHER_MODEL: Coefficients = (0.6, 0.8, 0.3, 0.2)


@dataclass(frozen=True)
class Case:
    """One trajectory: how to build the scheduler, and how a pipeline would drive it."""

    family: str
    name: str
    steps: int
    config: Config
    eta: float | None = None
    image_tokens: int | None = None  # FLUX derives mu from the number of image tokens
    given_sigmas: bool = False  # FLUX hands linspace(1, 1/N, N) to the scheduler
    tolerance: float = 1e-5
    tolerance_reason: str | None = None
    seed: int = field(init=False)

    def __post_init__(self) -> None:
        # Derived from the name, so that adding a case leaves the noise of the others alone.
        object.__setattr__(self, "seed", zlib.crc32(f"{self.family}/{self.name}".encode()) & 0x7FFFFFFF)

    @property
    def coefficients(self) -> Coefficients:
        return NOISE_MODEL if self.config.get("prediction_type") == "epsilon" else OTHER_MODEL

    @property
    def mu(self) -> float | None:
        if self.image_tokens is None:
            return None
        base, top = float(self.config["base_shift"]), float(self.config["max_shift"])
        slope = (top - base) / (4096 - 256)
        return self.image_tokens * slope + (base - slope * 256)


SHORT = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
SPACINGS = ("leading", "trailing", "linspace")
LINEAR = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
ZERO_SNR = {"rescale_betas_zero_snr": True}


def vp(spacing: str, prediction: str, **changes: Any) -> Config:
    return {
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "timestep_spacing": spacing,
        "steps_offset": 1 if spacing == "leading" else 0,
        "prediction_type": prediction,
        **changes,
    }


def ddim(spacing: str, prediction: str, alpha_one: bool = True, **changes: Any) -> Config:
    return vp(
        spacing, prediction, set_alpha_to_one=alpha_one, clip_sample=False, thresholding=False, **changes
    )


def ddim_cases() -> Iterator[Case]:
    ends = (("leading", False), ("leading", True), ("trailing", True), ("linspace", True))
    for (spacing, one), prediction in itertools.product(ends, SHORT):
        name = f"{spacing}_{'one' if one else 'first'}_{SHORT[prediction]}"
        yield Case("ddim", name, 8, ddim(spacing, prediction, one))
    for spacing in ("trailing", "linspace"):
        yield Case("ddim", f"{spacing}_first_eps", 8, ddim(spacing, "epsilon", False))
    for spacing, steps in itertools.product(SPACINGS, (4, 20, 30)):
        yield Case("ddim", f"{spacing}_n{steps}", steps, ddim(spacing, "epsilon", spacing != "leading"))
    # Trailing timesteps that end in .5: half goes to even, and at 48 the sum falls just beside it.
    for steps in (16, 48):
        yield Case("ddim", f"trailing_ties_n{steps}", steps, ddim("trailing", "epsilon"))
    etas = (
        ("leading", "epsilon", False),
        ("leading", "epsilon", True),
        ("trailing", "v_prediction", True),
        ("linspace", "sample", True),
    )
    for spacing, prediction, one in etas:
        name = f"{spacing}_{'one' if one else 'first'}_{SHORT[prediction]}_eta"
        yield Case("ddim", name, 8, ddim(spacing, prediction, one), eta=0.7)
    yield Case("ddim", "leading_eta_one", 8, ddim("leading", "epsilon", False), eta=1.0)
    zero = ddim("trailing", "v_prediction", **ZERO_SNR)
    yield Case("ddim", "zero_snr_v", 8, zero)
    yield Case("ddim", "zero_snr_v_n30", 30, zero)
    yield Case("ddim", "zero_snr_v_eta", 8, zero, eta=0.7)
    yield Case("ddim", "zero_snr_x0", 8, ddim("trailing", "sample", **ZERO_SNR))
    for name, betas in (("linear", LINEAR), ("cosine", COSINE)):
        yield Case("ddim", f"{name}_leading_eps", 8, ddim("leading", "epsilon", False, **betas))
        yield Case("ddim", f"{name}_trailing_v", 8, ddim("trailing", "v_prediction", **betas))


def spaced_cases(family: str, predictions: tuple[str, ...], **changes: Any) -> Iterator[Case]:
    for spacing, prediction in itertools.product(SPACINGS, predictions):
        yield Case(family, f"{spacing}_{SHORT[prediction]}", 8, vp(spacing, prediction, **changes))
    for spacing, steps in itertools.product(SPACINGS, (4, 20, 30)):
        yield Case(family, f"{spacing}_n{steps}", steps, vp(spacing, "epsilon", **changes))


def euler_cases() -> Iterator[Case]:
    yield from spaced_cases("euler", tuple(SHORT))
    for grid, spacing in itertools.product(("karras", "exponential"), SPACINGS):
        yield Case("euler", f"{grid}_{spacing}", 8, vp(spacing, "epsilon", **{f"use_{grid}_sigmas": True}))
    yield Case("euler", "karras_v_n30", 30, vp("leading", "v_prediction", use_karras_sigmas=True))
    yield Case("euler", "sigma_min", 8, vp("leading", "epsilon", final_sigmas_type="sigma_min"))
    yield Case("euler", "linear_betas", 8, vp("leading", "epsilon", **LINEAR))
    zero = vp("trailing", "v_prediction", **ZERO_SNR)
    # diffusers' first step subtracts states of size sigma = 4096, which costs it three of float32's digits.
    lossy = "diffusers steps from X of size 4096 to X of size 5 in float32"
    yield Case("euler", "zero_snr_v", 8, zero, tolerance=1e-4, tolerance_reason=lossy)


def euler_ancestral_cases() -> Iterator[Case]:
    yield from spaced_cases("euler_ancestral", ("epsilon", "v_prediction"))
    yield Case("euler_ancestral", "turbo_n1", 1, vp("trailing", "epsilon"))


def dpmpp_cases() -> Iterator[Case]:
    base = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}
    base |= {"lower_order_final": True, "euler_at_final": False, "final_sigmas_type": "zero"}
    karras, last = {"use_karras_sigmas": True}, {"final_sigmas_type": "sigma_min"}
    sde = {"algorithm_type": "sde-dpmsolver++"}

    def case(name: str, steps: int, spacing: str, prediction: str, *changes: Config) -> Case:
        merged = dict(itertools.chain.from_iterable(c.items() for c in (base, *changes)))
        return Case("dpmpp", name, steps, vp(spacing, prediction, **merged))

    yield from spaced_cases("dpmpp", tuple(SHORT), **base)
    for prediction in SHORT:
        yield case(f"karras_{SHORT[prediction]}", 8, "linspace", prediction, karras)
    yield case("karras_n20", 20, "leading", "epsilon", karras)
    yield case("karras_n30", 30, "linspace", "epsilon", karras)
    yield case("cosine", 8, "leading", "epsilon", COSINE)
    yield case("linear_betas", 8, "linspace", "epsilon", LINEAR)
    yield case("exponential", 8, "linspace", "epsilon", {"use_exponential_sigmas": True})
    for steps in (8, 20):  # from 15 steps on, the last step stays second order unless it ends at zero
        yield case(f"sigma_min_n{steps}", steps, "leading", "epsilon", last)
    yield case("karras_sigma_min", 8, "linspace", "epsilon", karras, last)
    yield case("order1", 8, "trailing", "epsilon", {"solver_order": 1})
    for prediction in SHORT:
        yield case(f"sde_{SHORT[prediction]}", 8, "leading", prediction, sde)
    yield case("sde_n20", 20, "linspace", "epsilon", sde)
    yield case("sde_karras", 8, "linspace", "epsilon", sde, karras)
    yield case("sde_karras_n20", 20, "leading", "epsilon", sde, karras)
    yield case("sde_sigma_min", 8, "leading", "epsilon", sde, last)
    yield case("zero_snr_v", 8, "trailing", "v_prediction", ZERO_SNR)
    for shift, steps in ((1.0, 8), (3.0, 8), (3.0, 20)):
        flow = {"use_flow_sigmas": True, "flow_shift": shift}
        yield case(f"flow_shift{shift:g}_n{steps}", steps, "linspace", "flow_prediction", flow)
    yield case(
        "flow_sde", 8, "linspace", "flow_prediction", {"use_flow_sigmas": True, "flow_shift": 3.0}, sde
    )


def unipc_cases() -> Iterator[Case]:
    base = {
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "final_sigmas_type": "zero",
    }
    yield from spaced_cases("unipc", tuple(SHORT), **base)
    for prediction in SHORT:
        yield Case(
            "unipc",
            f"karras_{SHORT[prediction]}",
            8,
            vp("linspace", prediction, **base, use_karras_sigmas=True),
        )
    yield Case("unipc", "karras_n20", 20, vp("leading", "epsilon", **base, use_karras_sigmas=True))
    yield Case("unipc", "exponential", 8, vp("linspace", "epsilon", **base, use_exponential_sigmas=True))
    yield Case("unipc", "order1", 8, vp("leading", "epsilon", **base | {"solver_order": 1}))
    yield Case("unipc", "sigma_min", 8, vp("leading", "epsilon", **base | {"final_sigmas_type": "sigma_min"}))
    yield Case("unipc", "zero_snr_v", 8, vp("trailing", "v_prediction", **base, **ZERO_SNR))
    for shift, steps in ((1.0, 8), (3.0, 8), (3.0, 20), (5.0, 8), (5.0, 30), (16.0, 8)):
        config = vp("linspace", "flow_prediction", **base, use_flow_sigmas=True, flow_shift=shift)
        yield Case("unipc", f"flow_shift{shift:g}_n{steps}", steps, config)


def lcm_cases() -> Iterator[Case]:
    base = {"original_inference_steps": 50, "timestep_scaling": 10.0, "set_alpha_to_one": True}
    base |= {"clip_sample": False, "thresholding": False}
    for prediction, steps in itertools.product(SHORT, (4, 8)):
        yield Case("lcm", f"{SHORT[prediction]}_n{steps}", steps, vp("leading", prediction, **base))
    for steps in (1, 2, 6, 20):
        yield Case("lcm", f"eps_n{steps}", steps, vp("leading", "epsilon", **base))


def flow_euler_cases() -> Iterator[Case]:
    def config(shift: float, **changes: Any) -> Config:
        return {"num_train_timesteps": 1000, "shift": shift, "use_dynamic_shifting": False, **changes}

    flux = config(
        3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, time_shift_type="exponential"
    )
    for steps in (4, 8, 28):
        yield Case("flow_euler", f"uniform_n{steps}", steps, config(1.0))
        yield Case("flow_euler", f"shift3_n{steps}", steps, config(3.0))
    for shift in (1.0, 3.0):
        yield Case("flow_euler", f"given_shift{shift:g}", 8, config(shift), given_sigmas=True)
    for tokens, steps in itertools.product((1024, 4096), (4, 8, 28)):
        yield Case(
            "flow_euler", f"flux_{tokens}_n{steps}", steps, flux, image_tokens=tokens, given_sigmas=True
        )
    yield Case("flow_euler", "flux_own_grid", 8, flux, image_tokens=1024)
    linear = flux | {"time_shift_type": "linear"}
    yield Case("flow_euler", "flux_linear", 8, linear, image_tokens=4096, given_sigmas=True)
    for shift in (1.0, 3.0):
        yield Case("flow_euler", f"stochastic_shift{shift:g}", 8, config(shift, stochastic_sampling=True))
    for grid in ("karras", "exponential"):
        yield Case("flow_euler", grid, 8, config(3.0, **{f"use_{grid}_sigmas": True}))
    yield Case(
        "flow_euler",
        "shift_terminal",
        8,
        flux | {"shift_terminal": 0.1},
        image_tokens=4096,
        given_sigmas=True,
    )


def all_cases() -> list[Case]:
    tables = (
        ddim_cases,
        euler_cases,
        euler_ancestral_cases,
        dpmpp_cases,
        unipc_cases,
        lcm_cases,
        flow_euler_cases,
    )
    return list(itertools.chain.from_iterable(table() for table in tables))
