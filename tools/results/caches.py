"""Measures what caches over steps spare and change, beside plain sampling with fewer steps.

    $(tools/env) tools/results/caches.py DIR [PROGRAM] [--count N] [--only MODEL]

Writes docs/caches.md and docs/images/caches.png from DIR/MODEL.json, made first where there is none. Every
row is a run of the same prompts and noises by the program on one thread: evaluations per picture, CPU
seconds without loading, and the distance of its latents to the full run's (root mean square, relative to the
full run's). On the bundled models the judge of tools/train scores the pictures, too: similarity and strict
score less the full run's, paired by prompt. Networks of FLUX.1's and Wan 2.1 1.3B's width are only timed, one
prompt and one setting a cache; DIR gets them (2.5 GB).

A cache beats fewer steps where it lies nearer to the full run than plain sampling of as many evaluations,
interpolated between the two neighbours, sample by sample: the 95 % interval of the mean difference says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train"))
import caches_page  # noqa: E402
from glint_train.grammar import Grammar  # noqa: E402
from glint_train.intervals import interval  # noqa: E402
from glint_train.prompts import draw_prompts  # noqa: E402

CACHES = {
    "easy-cache": [{"threshold": t} for t in (0.02, 0.05, 0.1, 0.2, 0.4)],
    "mag-cache": [{"threshold": t} for t in (0.06, 0.12, 0.24, 0.5)],
    "taylor-seer": [{"interval": i, "order": o} for i in (2, 3, 5) for o in (0, 1, 2)],
    "spectrum": [{"interval": i} for i in (2, 3)],
    "cfg-cache": [{"interval": i, "time_max": t} for i in (2, 5) for t in (641, 1000)],
    "adaptive-guidance": [{"threshold": t} for t in (0.9, 0.95, 0.98, 0.991)],
}
TIMED = {
    "easy-cache": [{"threshold": 0.1}],
    "mag-cache": [{"threshold": 0.12}],
    "taylor-seer": [{"interval": 2, "order": 1}],
    "spectrum": [{"interval": 2}],
    "cfg-cache": [{"interval": 2, "time_max": 1000}],
    "adaptive-guidance": [{"threshold": 0.95}],
}


@dataclass(frozen=True)
class Model:
    """What to run a model with. The bundled ones are `judged`, others have random weights; `wide` ones, made
    by tiny_pipelines, are timed. Caches of the unconditional branch are left out where a run has none."""

    place: str
    steps: int = 20
    judged: bool = True
    wide: bool = False
    options: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


MODELS = {
    "emoji-flow": Model(str(ROOT / "models/emoji-flow")),
    "emoji-xl": Model(str(ROOT / "models/emoji-xl")),
    "flux": Model(
        str(ROOT / "tests/data/families/flux"),
        judged=False,
        options=("--width", "64", "--height", "64"),
        without=("cfg-cache", "adaptive-guidance"),
    ),
    "wan": Model(
        str(ROOT / "tests/data/families/wan"),
        judged=False,
        options=("--width", "64", "--height", "48", "--frames", "9", "--solver", "flow-euler"),
    ),
    "flux-wide": Model(
        "flux-wide",
        judged=False,
        wide=True,
        options=("--width", "32", "--height", "32", "--text-length", "64"),
        without=("cfg-cache", "adaptive-guidance"),
    ),
    "wan-wide": Model(
        "wan-wide",
        judged=False,
        wide=True,
        options=("--width", "96", "--height", "96", "--frames", "9", "--text-length", "64"),
    ),
}


def exported(pipeline: str, folder: Path) -> Path:
    """The bundle of one of tiny_pipelines, written unless it is there."""
    bundle = folder / pipeline
    if not (bundle / "model.json").exists():
        paths = f"{ROOT / 'tools/golden'}:{ROOT / 'tools/export'}"
        with tempfile.TemporaryDirectory(dir=folder) as source:
            save = f"import pathlib, tiny_pipelines as t; t.saved({pipeline!r}, pathlib.Path({source!r}))"
            export = ["-m", "glint_export", f"{source}/{pipeline}", str(bundle)]
            for command in (["-c", save], export):
                subprocess.run([sys.executable, *command], env=os.environ | {"PYTHONPATH": paths}, check=True)
    return bundle


@dataclass
class Run:
    name: str
    evaluations: float
    seconds: float
    latents: np.ndarray  # [M, ...]
    reports: dict = field(default_factory=dict)

    def distances(self, full: Run) -> np.ndarray:
        """Of every sample, relative."""
        axes = tuple(range(1, full.latents.ndim))
        return np.sqrt(((self.latents - full.latents) ** 2).mean(axes) / (full.latents**2).mean(axes))


class Bench:
    def __init__(self, program: str, place: str, model: Model, prompts: list[str]) -> None:
        self.program, self.place, self.model, self.prompts = program, place, model, prompts
        self.loading = 0.0
        one, two = (self.run("load", steps, []).seconds for steps in (1, 2))
        self.loading = 2 * one - two

    def run(self, name: str, steps: int, methods: list[str]) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            latents = Path(folder) / "latents.safetensors"
            command = [self.program, "generate", "-m", self.place, *self.model.options]
            command += ["--threads", "1", "--steps", str(steps), "--seed", "77", "--json"]
            command += ["--latents-out", str(latents)]
            command += ["-o", str(Path(folder) / "picture.webp")]
            for method in methods:
                command += ["--with", method]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run([*command, *self.prompts], check=False, capture_output=True, text=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
            report = json.loads(done.stdout)
            seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - self.loading
            values = load_file(latents)["latents"].astype(np.float64)
            return Run(name, report["nfe"], seconds, values, report["strategies"])


def spell(name: str, options: dict) -> str:
    return f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}" if options else name


def ratios(bench: Bench, steps: int) -> str:
    """The mean magnitude ratios of every step, calibrated on the prompts."""
    reports = bench.run("calibration", steps, ["mag-cache:threshold=0"]).reports
    values = np.array(reports["mag-cache"]["ratio"]).reshape(-1, steps)
    return "+".join(f"{value:.4f}" for value in values.mean(0))


def measure(bench: Bench, steps: int) -> tuple[Run, list[Run], list[Run]]:
    """The full run, those with fewer steps, and those with a cache that spares anything."""
    full = bench.run(f"{steps} steps", steps, [])
    counts = [steps // 2] if bench.model.wide else range(max(2, steps // 4), steps, max(1, steps // 10))
    fewer = [bench.run(f"{n} steps", n, []) for n in counts]
    calibrated = ratios(bench, steps)
    cached = []
    for name, settings in (TIMED if bench.model.wide else CACHES).items():
        if name in bench.model.without:
            continue
        for setting in settings:
            extra = {"ratios": calibrated} if name == "mag-cache" else {}
            run = bench.run(spell(name, setting), steps, [spell(name, setting | extra)])
            if run.evaluations < full.evaluations:
                cached.append(run)
    return full, fewer, cached


@dataclass
class Row:
    """One line of the tables. `plain` is the distance of plain sampling at as many evaluations."""

    name: str
    evaluations: float
    seconds: float
    distance: float
    plain: float | None = None
    difference: tuple[float, float, float] | None = None  # from `plain`, with its 95 % interval
    similarity: tuple[float, float, float] | None = None  # less the full run's
    strict: tuple[float, float, float] | None = None


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    return interval(lambda indices: float(values[indices].mean()), len(values))


def compared(run: Run, full: Run, fewer: list[Run]) -> dict:
    """A cached run beside plain sampling of as many evaluations; nothing below the fewest steps."""
    points = sorted([*fewer, full], key=lambda one: one.evaluations)
    if run.evaluations < points[0].evaluations:
        return {}
    xs = [one.evaluations for one in points]
    table = np.stack([one.distances(full) for one in points])  # [points, samples]
    plain = np.array([np.interp(run.evaluations, xs, column) for column in table.T])
    return {
        "plain": float(plain.mean()),
        "difference": mean_with_interval(run.distances(full) - plain),
    }


class Scorer:
    """The judge of the bundled models: its network lies in emoji-flow."""

    def __init__(self, folder: Path, scenes: list, prompts: list[str]) -> None:
        import torch
        from glint_train.bundle import Bundle
        from glint_train.judge import Judge

        self.torch, self.scenes, self.prompts = torch, scenes, prompts
        judge = ROOT / "models" / "emoji-flow"
        self.bundle, self.words = Bundle(folder), Bundle(judge)
        self.judge = Judge.of_bundle(judge, Grammar())

    def __call__(self, run: Run) -> np.ndarray:
        """Similarity and strict score, [M, 2]."""
        with self.torch.no_grad():
            pictures = self.bundle.pictures(self.torch.from_numpy(run.latents).float())
        found = self.judge(pictures, self.scenes, self.words.ids(self.prompts))
        return np.array([(one.similarity, float(one.strict)) for one in found])


def rows(full: Run, fewer: list[Run], cached: list[Run], scorer: Scorer | None) -> list[Row]:
    base = scorer(full) if scorer else None
    result = []
    for run in [full, *fewer, *cached]:
        row = Row(run.name, run.evaluations, run.seconds, float(run.distances(full).mean()))
        if run in cached and len(run.latents) > 1:  # an interval needs several prompts
            for key, value in compared(run, full, fewer).items():
                setattr(row, key, value)
        if scorer and run is not full:
            changes = scorer(run) - base
            row.similarity, row.strict = (mean_with_interval(column) for column in changes.T)
        result.append(row)
    return result


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "AVX-512" if "avx512f" in flags else "AVX2"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("program", nargs="?", default=str(ROOT / "build/release/glint"))
    parser.add_argument("--count", type=int, default=24, help="prompts, with one noise each")
    parser.add_argument("--only", choices=tuple(MODELS), help="measure this model and write no page")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    third = -(-options.count // 3)
    scenes, prompts = [], []
    for kind in ("singles", "composed", "held-out"):
        some, texts = draw_prompts(kind, third, 4096, Grammar())
        scenes += some
        prompts += texts
    for name, model in MODELS.items():
        file = options.folder / f"{name}.json"
        if file.exists() or options.only not in (None, name):
            continue
        place = str(exported(model.place, options.folder)) if model.wide else model.place
        bench = Bench(options.program, place, model, prompts[:1] if model.wide else prompts)
        full, fewer, cached = measure(bench, model.steps)
        scorer = Scorer(ROOT / "models" / name, scenes, prompts) if model.judged else None
        body = {
            "model": name,
            "steps": model.steps,
            "judged": model.judged,
            "wide": model.wide,
            "prompts": len(bench.prompts),
            "processor": processor(),
            "rows": [asdict(row) for row in rows(full, fewer, cached, scorer)],
        }
        file.write_text(json.dumps(body, indent=1) + "\n")
    if options.only is None:
        caches_page.write([json.loads((options.folder / f"{name}.json").read_text()) for name in MODELS])


if __name__ == "__main__":
    main()
