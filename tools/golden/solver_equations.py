"""The published equations of solvers that diffusers does not have, in float64, on levels given as triples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath
import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """x = alpha x0 + sigma eps at the network's time t."""

    t: float
    alpha: float
    sigma: float

    @property
    def ratio(self) -> float:
        return self.sigma / self.alpha

    @property
    def half_log_snr(self) -> float:
        return math.log(self.alpha / self.sigma)


@dataclass(frozen=True)
class Problem:
    levels: list[Level]
    x0_of: Callable[[Tensor, Level], Tensor]  # the network's estimate of x0 for x at a level
    at_ratio: Callable[[float], Level]
    noise: Callable[[], Tensor]

    def steps(self) -> Iterator[tuple[int, Level, Level]]:
        yield from zip(range(len(self.levels) - 1), self.levels[:-1], self.levels[1:], strict=True)


States = list[Tensor]


def euler_churn(p: Problem, x: Tensor, churn: float, heun: bool = False) -> States:
    """Karras et al. 2022, Algorithm 2."""
    states, n = [x], len(p.levels) - 1
    for _, here, to in p.steps():
        hat = p.at_ratio(here.ratio * (1 + min(churn / n, math.sqrt(2) - 1)))
        big = states[-1] / here.alpha + math.sqrt(hat.ratio**2 - here.ratio**2) * p.noise()
        slope = (big - p.x0_of(hat.alpha * big, hat)) / hat.ratio
        if to.sigma == 0:
            states.append(big - hat.ratio * slope)
            continue
        end = big + (to.ratio - hat.ratio) * slope
        if heun:
            late = (end - p.x0_of(to.alpha * end, to)) / to.ratio
            end = big + (to.ratio - hat.ratio) * (slope + late) / 2
        states.append(to.alpha * end)
    return states


def heun_step(p: Problem, big: Tensor, here: Level, to: Level) -> Tensor:
    slope = (big - p.x0_of(here.alpha * big, here)) / here.ratio
    end = big + (to.ratio - here.ratio) * slope
    if to.sigma == 0:
        return end
    late = (end - p.x0_of(to.alpha * end, to)) / to.ratio
    return big + (to.ratio - here.ratio) * (slope + late) / 2


def restart(p: Problem, x: Tensor, low: float, high: float, restarts: int, restart_steps: int) -> States:
    """Xu et al. 2023, Algorithm 1, with Heun's method on Karras et al.'s spacing between the two levels."""
    ratios = [level.ratio for level in p.levels[:-1]]
    bottom = min(range(len(ratios)), key=lambda i: abs(ratios[i] - low))
    top = min(range(len(ratios)), key=lambda i: abs(ratios[i] - high))
    rho, states = 7.0, [x]
    for i, here, to in p.steps():
        big = heun_step(p, states[-1] / here.alpha, here, to)
        for _ in range(restarts if i + 1 == bottom else 0):
            big = big + math.sqrt(ratios[top] ** 2 - ratios[bottom] ** 2) * p.noise()
            a, b = ratios[top] ** (1 / rho), ratios[bottom] ** (1 / rho)
            way = [(a + (b - a) * k / restart_steps) ** rho for k in range(restart_steps + 1)]
            inner = [p.levels[top], *(p.at_ratio(r) for r in way[1:-1]), p.levels[bottom]]
            for upper, lower in zip(inner[:-1], inner[1:], strict=True):
                big = heun_step(p, big, upper, lower)
        states.append(to.alpha * big)
    return states


def dpmpp_3m_sde(p: Problem, x: Tensor, eta: float, legacy: bool) -> States:
    """k-diffusion's sample_dpmpp_3m_sde, in x / alpha; not `legacy`: with the whole second derivative."""
    states: States = [x]
    old: list[tuple[Tensor, float]] = []  # x0 estimates and log-SNRs of the steps before, latest first
    for _, here, to in p.steps():
        x0 = p.x0_of(states[-1], here)
        if to.sigma == 0:
            states.append(x0)
            continue
        h = to.half_log_snr - here.half_log_snr
        g = h * (eta + 1)
        big = math.exp(-g) * states[-1] / here.alpha - math.expm1(-g) * x0
        past = [(x0, here.half_log_snr), *old]
        phi2 = math.expm1(-g) / g + 1
        phi3 = phi2 / g - 0.5
        if len(old) == 1:
            big = big + phi2 * (x0 - past[1][0]) * h / (past[0][1] - past[1][1])
        elif len(old) == 2:
            r0, r1 = ((past[k][1] - past[k + 1][1]) / h for k in (0, 1))
            d0, d1 = (past[0][0] - past[1][0]) / r0, (past[1][0] - past[2][0]) / r1
            first = d0 + (d0 - d1) * r0 / (r0 + r1)
            second = (d0 - d1) / (r0 + r1)
            big = big + phi2 * first - phi3 * second * (1 if legacy else 2)
        if eta:
            big = big + p.noise() * to.ratio * math.sqrt(-math.expm1(-2 * h * eta))
        old = past[:2]
        states.append(to.alpha * big)
    return states


def phi(order: int, z: float) -> float:
    """phi_0 = e^z, phi_k = (phi_{k-1} - 1/(k-1)!) / z."""
    return math.exp(z) if order == 0 else (phi(order - 1, z) - 1 / math.factorial(order - 1)) / z


def res_2s(p: Problem, x: Tensor) -> States:
    """Zhang et al. 2023: the exponential Runge-Kutta method of order 2 with c_2 = 1/2."""
    states, c2 = [x], 0.5
    for _, here, to in p.steps():
        x0, big = p.x0_of(states[-1], here), states[-1] / here.alpha
        if to.sigma == 0:
            states.append(x0)
            continue
        h = to.half_log_snr - here.half_log_snr
        middle = p.at_ratio(here.ratio * math.exp(-c2 * h))
        stage = math.exp(-c2 * h) * big + h * c2 * phi(1, -c2 * h) * x0
        b2 = phi(2, -h) / c2
        late = p.x0_of(middle.alpha * stage, middle)
        states.append(to.alpha * (math.exp(-h) * big + h * ((phi(1, -h) - b2) * x0 + b2 * late)))
    return states


def res_multistep(p: Problem, x: Tensor) -> States:
    """Zhang et al. 2023: its multistep form, with c_2 = -h_1 / h."""
    states, old = [x], None
    for i, here, to in p.steps():
        x0, big = p.x0_of(states[-1], here), states[-1] / here.alpha
        if to.sigma == 0:
            states.append(x0)
            continue
        h = to.half_log_snr - here.half_log_snr
        if old is None:
            end = math.exp(-h) * big + h * phi(1, -h) * x0
        else:
            c2 = (p.levels[i - 1].half_log_snr - here.half_log_snr) / h
            b2 = phi(2, -h) / c2
            end = math.exp(-h) * big + h * ((phi(1, -h) - b2) * x0 + b2 * old)
        old = x0
        states.append(to.alpha * end)
    return states


def integral(of: Callable[[float], float], low: float, high: float) -> float:
    ends = [low * (high / low) ** (k / 4) for k in range(5)]
    return float(mpmath.quad(lambda v: of(float(v)), ends))


def er_sde(p: Problem, x: Tensor, order: int, noise: str, legacy: bool) -> States:
    """Cui et al. 2023, Algorithm 3, the integrals by adaptive quadrature."""
    if not legacy:
        raise ValueError("only the published form is written out here")
    scalers: dict[str, Callable[[float], float]] = {
        "er": lambda v: v * (math.exp(v**0.3) + 10),
        "sde": lambda v: v * v,
        "ode": lambda v: v,
    }
    scaler, states = scalers[noise], [x]
    estimates: list[Tensor] = []
    slopes: list[Tensor] = []
    for i, here, to in p.steps():
        estimates.append(p.x0_of(states[-1], here))
        if to.sigma == 0:
            states.append(estimates[-1])
            continue
        s, t = here.ratio, to.ratio
        r = scaler(t) / scaler(s)
        big = r * states[-1] / here.alpha + (1 - r) * estimates[-1]
        if order >= 2 and i >= 1:
            slopes.append((estimates[-1] - estimates[-2]) / (s - p.levels[i - 1].ratio))
            area = integral(lambda v: 1 / scaler(v), t, s)
            big = big + (t - s + area * scaler(t)) * slopes[-1]
        if order >= 3 and i >= 2:
            bend = (slopes[-1] - slopes[-2]) / ((s - p.levels[i - 2].ratio) / 2)
            area = integral(lambda v, s=s: (v - s) / scaler(v), t, s)
            big = big + ((t - s) ** 2 / 2 + area * scaler(t)) * bend
        if noise != "ode":
            big = big + p.noise() * math.sqrt(t * t - r * r * s * s)
        states.append(to.alpha * big)
    return states


EQUATIONS: dict[str, Callable[..., Any]] = {
    "euler": euler_churn,
    "heun": lambda p, x, churn: euler_churn(p, x, churn, heun=True),
    "restart": restart,
    "dpmpp-3m-sde": dpmpp_3m_sde,
    "res-2s": res_2s,
    "res-multistep": res_multistep,
    "er-sde": er_sde,
}


def doubles(x: Tensor) -> Tensor:
    return x.to(torch.float64)
