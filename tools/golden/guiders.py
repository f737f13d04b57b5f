"""Golden files of diffusers' guiders: branch outputs and what they are combined to, for the rules to match.

    python tools/golden/guiders.py            writes tests/data/parity/guiders.safetensors and guiders.json
    python tools/golden/guiders.py --check    regenerates in memory and compares with what is stored

Each guider is driven as a modular pipeline does: set_state, prepare_inputs, a prediction for every branch
it asks for, then the call. All of diffusers' reductions are per sample, as the rules' are, so most cases
are batches of two. TDG has no guider in diffusers; its cases are the paper's formula in float64 NumPy.

Where diffusers and the rules differ, and what diffusers cannot do:
- A case's "differs" lists calls at which the rule gives something else: windows whose edge is a whole step
  but for rounding; the zeroed steps of CFG-Zero* under guidance_rescale, where diffusers gives NaN, and
  outside the window; APG after a warm-up at scale 1.
- A scale at which a guider turns itself off gives the conditional prediction. So does APG's rule in the
  paper's form.
- Skip-layer, perturbed-attention and smoothed-energy guidance without CFG are k + g (c - k), which is the
  rule's c + (g - 1) (c - k). Outside the window of their CFG alone diffusers goes on with that; the
  interval filter turns off all of a rule.
- Diffusers weakens AutoGuidance's branch of the null prompt, the paper and the rule that of the prompt. The
  formula is the same. Which layers are skipped or blurred is not compared: the weak branch's outputs are
  made up.
- FDG with one band at scale 1, or outside a window of its own, fails in diffusers, which appends another
  band or none. Sizes that are odd, or have no power of two among them, are padded to powers of two and not
  cut again. Videos are refused; here their frames are given as a batch. The rule has no third band and no
  options per band but the scale.
- MAMBO-G's guider fails for more than three dimensions, so that its predictions are given as [B,C,HW].
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from typing import Any

import diffusers
import kornia
import numpy as np
import torch
from diffusers import guiders
from guider_cases import Case, Config, all_guider_cases
from safetensors.numpy import load_file, save_file
from schedulers import CHECK_TOLERANCE, FOLDER, Arrays, dump_manifest, relative_error
from torch import Tensor

FILE, MANIFEST = FOLDER / "guiders.safetensors", FOLDER / "guiders.json"
CALLS = 5  # the most any case has
SHAPES = {"image": (2, 2, 4, 8), "video": (2, 2, 2, 4, 4), "wide": (1, 2, 8, 12)}
SPREAD = (0.25, 0.6)  # length of c - u beside u, by sample: limits and damping then differ within a batch
TENSORS = {
    "<inputs>/cond": "float32 [5,B,C,(F,)H,W], the prediction under the prompt at each call",
    "<inputs>/uncond": "the same under the null prompt",
    "<inputs>/weak": "the same of a perturbed, weaker or token-degraded branch",
    "<case>/guided": "float32 [K,B,C,(F,)H,W], what they are combined to; call i of a case has the inputs i",
}
TOLERANCE_REASON = (
    "float32 rounding of differences and their multiples on both sides, 10 at most; the error of a call is "
    "max |difference| / max |reference|. TCFG's is that of diffusers' float32 SVD"
)
Branches = dict[str, Tensor]


def inputs(name: str) -> Branches:
    shape = SHAPES[name]
    generator = torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()))

    def draw() -> Tensor:
        return torch.randn((CALLS, *shape), generator=generator)

    spread = torch.tensor(SPREAD[: shape[0]]).view(-1, *(1,) * (len(shape) - 1))
    uncond = draw()
    cond = 0.9 * uncond + spread * draw()
    return {"cond": cond, "uncond": uncond, "weak": 0.7 * cond + 0.2 * uncond + 0.3 * draw()}


def guided(case: Case, guider: Any, step: int, branches: Branches) -> Tensor:
    """One step of a modular pipeline's loop."""
    # AutoGuidance calls its weak branch the unconditional one.
    second = branches["weak" if case.guider == "AutoGuidance" else "uncond"]
    named = {"pred_cond": branches["cond"], "pred_uncond": second}
    named |= dict.fromkeys(("pred_cond_skip", "pred_cond_seg"), branches["weak"])
    guider.set_state(step=step, num_inference_steps=case.steps, timestep=torch.tensor(1000 - step))
    batches = guider.prepare_inputs({"embedding": (torch.ones(1), torch.zeros(1))})
    for batch in batches:
        batch.noise_pred = named[getattr(batch, guider._identifier_key)]
    return guider(batches).pred


def folded(case: Case, x: Tensor) -> Tensor:
    """The prediction in a shape that the guider takes."""
    if case.rule == "fdg" and x.dim() == 5:
        return x.transpose(1, 2).flatten(0, 1)
    return x.flatten(2) if case.rule == "mambo-g" else x


def unfolded(case: Case, x: Tensor, shape: torch.Size) -> Tensor:
    if case.rule == "fdg" and len(shape) == 5:
        return x.unflatten(0, (shape[0], shape[2])).transpose(1, 2)
    return x.view(shape)


def by_guider(case: Case, calls: list[Branches]) -> list[Tensor]:
    guider, made = getattr(guiders, case.guider)(**case.config), []
    for step, call in zip(case.calls, calls, strict=True):
        result = guided(case, guider, step, {name: folded(case, x) for name, x in call.items()})
        made.append(unfolded(case, result, call["cond"].shape))
    return made


def tdg(c: np.ndarray, u: np.ndarray, k: np.ndarray, w: float, gamma: float, beta: float) -> np.ndarray:
    """TDG of one sample, arXiv:2602.22570, with g = w gamma."""
    g, ratio = w * gamma, np.linalg.norm(c - u) / np.linalg.norm(c - k)
    return ratio * (c - k) * g / (beta + 1) + (c - u) * g * beta / (beta + 1) + (k + u) / 2


def by_formula(case: Case, calls: list[Branches]) -> list[Tensor]:
    def sample(call: Branches, index: int) -> Tensor:
        c, u, k = (call[name][index].double().numpy() for name in ("cond", "uncond", "weak"))
        return torch.from_numpy(tdg(c, u, k, **case.config)).float()

    return [torch.stack([sample(call, i) for i in range(len(call["cond"]))]) for call in calls]


def generate(case: Case) -> np.ndarray:
    whole = inputs(case.inputs)
    calls = [{name: x[i] for name, x in whole.items()} for i in range(len(case.calls))]
    made = by_formula(case, calls) if case.guider == "formula" else by_guider(case, calls)
    return torch.stack(made).numpy()


def tensors() -> Arrays:
    given = {f"{name}/{branch}": x.numpy() for name in SHAPES for branch, x in inputs(name).items()}
    return given | {f"{case.name}/guided": generate(case) for case in all_guider_cases()}


def manifest() -> Config:
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "kornia": kornia.__version__}
    return {
        "generator": "tools/golden/guiders.py",
        "versions": versions,
        "tolerance_reason": TOLERANCE_REASON,
        "tensors": TENSORS,
        "cases": [case.entry() for case in all_guider_cases()],
    }


def problems() -> list[str]:
    """What the stored files have otherwise than diffusers gives now."""
    fresh, stored = tensors(), load_file(FILE)
    found = [f"{name}: stored or expected only" for name in sorted(fresh.keys() ^ stored.keys())]
    for name in sorted(fresh.keys() & stored.keys()):
        nan = np.isnan(fresh[name])
        if not np.array_equal(nan, np.isnan(stored[name])):
            found.append(f"{name}: other values are NaN")
            continue
        error = relative_error(np.nan_to_num(fresh[name]), np.nan_to_num(stored[name]))
        if error > CHECK_TOLERANCE:
            found.append(f"{name}: off by {error:.1e}")
    text, expected = json.loads(MANIFEST.read_text()), json.loads(dump_manifest(manifest()))
    keys = [key for key in expected if key != "versions" and text.get(key) != expected[key]]
    return found + [f"{MANIFEST.name}: {key} differs" for key in keys]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare with the stored files, write nothing")
    if not parser.parse_args().check:
        save_file({key: np.ascontiguousarray(value) for key, value in tensors().items()}, FILE)
        MANIFEST.write_text(dump_manifest(manifest()))
        return 0
    found = problems()
    print("\n".join(found) or f"{len(all_guider_cases())} cases agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
