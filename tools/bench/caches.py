"""What caches over steps spare and change, beside plain sampling with fewer steps.

    $(tools/env) tools/bench/caches.py PROGRAM --model NAME_OR_FOLDER [--steps N] [--count M] [--cond-in FILE]
        [--judge] [-o TABLE.md]

Every row is a run of the same prompts and noises by the program on one thread: evaluations per picture, CPU
seconds without loading, distance of its latents to the full run's (root mean square, relative to the full
run's), and with --judge (models/emoji-flow) similarity and strict score less the full run's, paired, with
95 % intervals over prompts. A cache beats fewer steps where it lies nearer to the full run than plain
sampling with as many evaluations, interpolated between the two neighbours.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "train"))
from glint_train.intervals import mean_interval  # noqa: E402

CACHES = {
    "easy-cache": [{"threshold": t} for t in (0.02, 0.05, 0.1, 0.2, 0.4)],
    "mag-cache": [{"threshold": t} for t in (0.06, 0.12, 0.24, 0.5)],
    "taylor-seer": [{"interval": i, "order": o} for i in (2, 3, 5) for o in (0, 1, 2)],
    "spectrum": [{"interval": i} for i in (2, 3)],
    "cfg-cache": [{"interval": i, "time_max": t} for i in (2, 5) for t in (641, 1000)],
    "adaptive-guidance": [{"threshold": t} for t in (0.9, 0.95, 0.98, 0.991)],
}


@dataclass
class Run:
    name: str
    evaluations: float
    seconds: float
    latents: np.ndarray  # [M, ...]
    reports: dict


class Bench:
    def __init__(self, options: argparse.Namespace, prompts: list[str]) -> None:
        self.options, self.prompts = options, prompts
        self.loading = 0.0
        self.loading = self.run("load", 1, []).seconds

    def run(self, name: str, steps: int, methods: list[str]) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            latents = Path(folder) / "latents.safetensors"
            command = [self.options.program, "generate", "-m", self.options.model, "--threads", "1"]
            command += ["--steps", str(steps), "--seed", "77", "--json", "--latents-out", str(latents)]
            command += ["-o", str(Path(folder) / "picture.png")]
            for method in methods:
                command += ["--with", method]
            if self.options.cond_in:
                command += ["--cond-in", self.options.cond_in, "--count", str(self.options.count)]
            else:
                command += self.prompts
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, check=False, capture_output=True, text=True)
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


def distances(run: Run, full: Run) -> np.ndarray:
    """Relative distance of every sample."""
    axes = tuple(range(1, full.latents.ndim))
    return np.sqrt(((run.latents - full.latents) ** 2).mean(axes) / (full.latents**2).mean(axes))


def measure(bench: Bench, steps: int) -> tuple[Run, list[Run], list[Run]]:
    full = bench.run(f"{steps} steps", steps, [])
    counts = range(max(2, steps // 4), steps, max(1, steps // 10))
    fewer = [bench.run(f"{n} steps", n, []) for n in counts]
    calibrated = ratios(bench, steps)
    cached = []
    for name, settings in CACHES.items():
        for setting in settings:
            extra = {"ratios": calibrated} if name == "mag-cache" else {}
            run = bench.run(spell(name, setting), steps, [spell(name, setting | extra)])
            if run.evaluations < full.evaluations:
                cached.append(run)
    return full, fewer, cached


def verdict(run: Run, full: Run, fewer: list[Run]) -> str:
    """Whether the run is nearer to the full one than plain sampling with as many evaluations."""
    points = [(one.evaluations, float(distances(one, full).mean())) for one in fewer]
    points.append((full.evaluations, 0.0))
    xs, ys = zip(*sorted(points), strict=True)
    if run.evaluations < xs[0]:
        return "below the fewest steps"
    plain = float(np.interp(run.evaluations, xs, ys))
    own = float(distances(run, full).mean())
    return f"{'beats' if own < plain else 'does not beat'} fewer steps ({plain:.4f})"


class Scorer:
    def __init__(self, folder: Path, scenes: list, prompts: list[str]) -> None:
        import torch
        from glint_train.bundle import Bundle
        from glint_train.grammar import Grammar
        from glint_train.judge import Judge

        self.torch = torch
        self.bundle, self.scenes, self.prompts = Bundle(folder), scenes, prompts
        self.judge = Judge.of_bundle(folder, Grammar())

    def __call__(self, run: Run) -> np.ndarray:
        """Similarity and strict score, [M, 2]."""
        with self.torch.no_grad():
            pictures = self.bundle.pictures(self.torch.from_numpy(run.latents).float())
        found = self.judge(pictures, self.scenes, self.bundle.ids(self.prompts))
        return np.array([(one.similarity, float(one.strict)) for one in found])


def table(full: Run, fewer: list[Run], cached: list[Run], scorer: Scorer | None) -> str:
    head = ["run", "evaluations", "CPU s", "distance", "against fewer steps"]
    head += ["similarity", "strict"] if scorer else []
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    base = scorer(full) if scorer else None
    for run in [full, *fewer, *cached]:
        row = [run.name, f"{run.evaluations:.1f}", f"{run.seconds:.2f}", f"{distances(run, full).mean():.4f}"]
        row.append(verdict(run, full, fewer) if run in cached else "")
        if scorer:
            row += [mean_interval(column) for column in (scorer(run) - base).T]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program")
    parser.add_argument("--model", default="emoji-flow")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--count", type=int, default=24, help="prompts")
    parser.add_argument("--cond-in", help="conditioning for a model without known prompts")
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    from glint_train.grammar import Grammar
    from glint_train.prompts import draw_prompts

    third = -(-options.count // 3)
    scenes, prompts = [], []
    for kind in ("singles", "composed", "held-out"):
        some, texts = draw_prompts(kind, third, 4096, Grammar())
        scenes += some
        prompts += texts
    bench = Bench(options, prompts)
    full, fewer, cached = measure(bench, options.steps)
    scorer = Scorer(ROOT / "models" / options.model, scenes, prompts) if options.judge else None
    text = table(full, fewer, cached, scorer)
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
