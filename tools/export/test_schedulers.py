"""Every option of diffusers' schedulers: carried as stored, or refused by class, field and value."""

from __future__ import annotations

import ast
import inspect
import json
import math
import textwrap

import diffusers
import pytest
import torch
from field_tables import page
from glint_export.errors import ExportError
from glint_export.scheduler_fields import FLOW_CLASSES, VP_CLASSES, Fields
from glint_export.schedules import noise_fields
from safetensors.torch import load_file
from scheduler_options import DATA, RANDOM, Case, classes, counts, dump, everything, parameters, stacked

CLASSES = {**VP_CLASSES, **FLOW_CLASSES}


def fields_read(kind: type) -> set[str]:
    """What the methods of a class look up in its configuration."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind)))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.config":
            found.add(node.attr)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr"):
            if ast.unparse(node.args[0]) == "self.config":
                found.add(ast.literal_eval(node.args[1]))
    return found - {"get"}


@pytest.mark.parametrize("name", CLASSES)
def test_tables_have_every_field_that_a_class_reads(name: str) -> None:
    kind = classes()[name]
    tables: list[Fields] = [known[name] for known in (VP_CLASSES, FLOW_CLASSES) if name in known]
    for fields in tables:
        assert set(parameters(kind)) | fields_read(kind) == set(fields)


def test_every_option_is_carried_or_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    runs, refused = everything()
    names = [name for run in runs for name in run.names]
    for name in (*names, *refused):  # fields of other classes change nothing
        if "/foreign/" in name:
            both = {name, name.replace("foreign", "base")}
            assert both <= refused.keys() or any(both <= set(run.names) for run in runs), name
    with capsys.disabled():
        print(f"\n{counts(runs, refused)}")
    assert (DATA / "scheduler_options.json").read_text() == dump(runs)
    stored = load_file(DATA / "scheduler_options.safetensors")["latents"]
    torch.testing.assert_close(stacked(runs), stored, rtol=1e-4, atol=1e-4)
    for name, reason in refused.items():
        kind, _, field, *_ = name.split("/") if not name.startswith("random/") else ("", "", "")
        if reason.startswith("diffusers: "):  # which cannot build or run it itself
            continue
        assert reason.startswith(f"scheduler {kind or ''}"), (name, reason)
        by_class = kind not in CLASSES or ": not supported for " in reason
        if not by_class and field not in ("default", "base"):
            assert field.rsplit("-", 1)[0] in reason or "=" in reason, (name, reason)
    assert sum(name.startswith("random/") for name in (*names, *refused)) == RANDOM


def test_refusals_name_class_field_and_value() -> None:
    def refusal(kind: type, family: str, **config: object) -> str:
        with pytest.raises(ExportError) as caught:
            noise_fields(kind(**config), family)
        return str(caught.value)

    assert refusal(diffusers.DDIMScheduler, "sdxl", clip_sample_range=0.0) == (
        "scheduler DDIMScheduler: clip_sample_range = 0.0 is not supported, only 1e-06 to 1e+09"
    )
    told = refusal(diffusers.EDMDPMSolverMultistepScheduler, "sdxl")
    assert told.startswith("scheduler EDMDPMSolverMultistepScheduler: not supported for this kind of model")
    told = refusal(diffusers.UniPCMultistepScheduler, "wan")
    assert told == (
        "scheduler UniPCMultistepScheduler: use_flow_sigmas = False is not supported for a flow model"
    )
    told = refusal(diffusers.DPMSolverMultistepScheduler, "sdxl", beta_schedule="linear", solver_order=4)
    assert told == "scheduler DPMSolverMultistepScheduler: solver_order = 4 is not supported, only 1, 2, 3"


EULER, FLOW_EULER = "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"
LEADING = {"timestep_spacing": "leading"}


@pytest.mark.parametrize(
    ("name", "family", "config", "field", "wanted"),
    [
        (EULER, "sdxl", LEADING | {"steps_offset": None}, "steps_offset = None", "an integer"),
        (EULER, "sdxl", LEADING | {"steps_offset": 1.0}, "steps_offset = 1.0", "an integer"),
        (EULER, "sdxl", {"use_karras_sigmas": "true"}, "use_karras_sigmas = 'true'", "true or false"),
        (EULER, "sdxl", {"rescale_betas_zero_snr": "no"}, "rescale_betas_zero_snr = 'no'", "true or false"),
        ("DPMSolverMultistepScheduler", "sdxl", {"solver_order": 2.0}, "solver_order = 2.0", "1, 2, 3"),
        (FLOW_EULER, "sd3", {"shift": math.nan}, "shift = nan", "a finite number"),
        (FLOW_EULER, "sd3", {"use_karras_sigmas": True, "sigma_min": "1"}, "sigma_min = '1'",
         "a finite number"),
        (FLOW_EULER, "flux", {"shift_terminal": "0.1"}, "shift_terminal = '0.1'", "a finite number"),
        ("UniPCMultistepScheduler", "wan", {"flow_shift": None}, "flow_shift = None", "a finite number"),
        ("UniPCMultistepScheduler", "wan", {"disable_corrector": "0"}, "disable_corrector = '0'",
         "a list of numbers"),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(
    name: str, family: str, config: dict[str, object], field: str, wanted: str
) -> None:
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"} if family == "wan" else {}
    scheduler = classes()[name](**flow)
    scheduler.register_to_config(**({"beta_schedule": "scaled_linear"} if family == "sdxl" else {}) | config)
    with pytest.raises(ExportError) as caught:
        noise_fields(scheduler, family)
    assert str(caught.value) == f"scheduler {name}: {field} is not supported, only {wanted}"


def test_fields_of_other_classes_are_not_read() -> None:
    """As in the released SDXL, whose Euler scheduler's file was another class's once."""
    extra = {"clip_sample": True, "set_alpha_to_one": False, "skip_prk_steps": True, "solver_order": 7}
    scheduler = diffusers.EulerDiscreteScheduler.from_config(
        {"timestep_spacing": "leading", "steps_offset": 1, **extra}
    )
    fields = noise_fields(scheduler, "sdxl")
    assert fields == noise_fields(
        diffusers.EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1), "sdxl"
    )
    # These two are read although the class does not list them.
    bounded = diffusers.DPMSolverMultistepScheduler.from_config({"use_karras_sigmas": True, "sigma_max": 9.0})
    assert noise_fields(bounded, "sdxl")["schedule"]["sigma_max"] == 9.0


def test_solvers_options_are_written_as_the_program_takes_them() -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=3, solver_type="heun", euler_at_final=True
    )
    solver = noise_fields(scheduler, "sdxl")["default_solver"]
    assert solver == "dpmpp-2m-sde:order=3,form=heun,euler_final=true"
    case = Case("x", "LCMScheduler", "sdxl", {"original_inference_steps": 100}, 4)
    lcm = noise_fields(diffusers.LCMScheduler(**case.config), "sdxl")
    assert lcm["default_solver"] == "lcm:origin_steps=100"
    assert json.loads(json.dumps(lcm)) == lcm


def test_what_clips_and_thresholds_is_a_filter_or_an_option_of_ddim() -> None:
    def fields(kind: type, family: str = "sdxl", **config: object) -> dict[str, object]:
        return noise_fields(kind.from_config({"beta_schedule": "linear"} | config), family)

    # Its default clips.
    assert fields(diffusers.DDIMScheduler)["default_solver"] == "ddim:clip=1.0"
    thresholds = {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 2.5}
    both = thresholds | {"clip_sample": True}
    assert fields(diffusers.DDIMScheduler, **both)["default_solver"] == "ddim:threshold=0.9,threshold_max=2.5"
    assert "default_filters" not in fields(diffusers.DDIMScheduler, **both)
    filters = ["threshold:ratio=0.9,max=2.5"]
    for name in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LCMScheduler"):
        assert fields(getattr(diffusers, name), **both)["default_filters"] == filters
    heun = fields(diffusers.HeunDiscreteScheduler, **both, clip_sample_range=0.5)
    assert heun["default_filters"] == ["clip:range=0.5"]  # it cannot threshold
    euler = fields(diffusers.EulerDiscreteScheduler, **both)
    assert "default_filters" not in euler and euler["default_solver"] == "euler"
    flow = thresholds | {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    assert fields(diffusers.UniPCMultistepScheduler, "wan", **flow)["default_filters"] == filters


def test_tables_of_the_page_are_todays() -> None:
    current, wanted = page()
    assert current == wanted, "run tools/export/field_tables.py"
