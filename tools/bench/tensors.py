"""Measures the sampler's loop over glint's own tensor and over libtorch's, in turn.

    python tools/bench/tensors.py FOLDER [--rounds 15] [--page PAGE]

FOLDER is that of glint_bench_loop and glint_core_bench_loop (GLINT_BENCH): a model that answers at once, 20
steps on latents [2,4,128,128]. Figures are medians of CPU microseconds per step on one thread. Both programs
run each case in turn, so that other work on the machine slows both alike; their latents have to agree.
`--page` writes the table between the marks in that page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
from pathlib import Path

CASES = {
    "Euler": "vp euler",
    "Euler, flow": "flow flow-euler",
    "DDIM": "vp ddim",
    "DPM++ 2M": "vp dpmpp-2m",
    "DPM++ 2M SDE": "vp dpmpp-2m-sde",
    "UniPC": "vp unipc",
    "Heun": "flow heun",
    "Euler, Z-Sampling": "vp euler z-sampling",
    "DPM++ 2M, Z-Sampling": "vp dpmpp-2m z-sampling",
    "flow, Z-Sampling": "flow flow-euler z-sampling",
    "Euler, APG": "vp euler apg:eta=0.0",
    "Euler, CFG-Zero*": "flow flow-euler cfg-zero-star",
    "Euler, TCFG": "vp euler tcfg",
    "Euler, MAMBO-G": "vp euler mambo-g",
    "Euler, FDG": "vp euler fdg",
}
PROGRAMS = ("glint_bench_loop", "glint_core_bench_loop")
BEGIN, END = "<!-- tensors -->", "<!-- end of tensors -->"


class Worker:
    """One of the two programs."""

    def __init__(self, program: Path):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [program], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, case: str) -> tuple[float, float]:
        """Returns CPU microseconds per step, and the mean of |latents|."""
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if not line:
            raise SystemExit(f"{case}: {self.process.args[0]} ended with {self.process.wait()}")
        return float(line[0]), float(line[1])

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(workers: list[Worker], case: str, rounds: int) -> list[float]:
    """Returns each program's median of CPU microseconds per step."""
    times: list[list[float]] = [[] for _ in workers]
    for i in range(rounds):
        means = []
        # Every other round begins with the other one, so that drift of the machine cancels.
        for index in (0, 1) if i % 2 == 0 else (1, 0):
            microseconds, mean = workers[index].run(case)
            times[index].append(microseconds)
            means.append(mean)
        if abs(means[0] - means[1]) > 1e-5 * abs(means[0]):
            raise SystemExit(f"{case}: the latents differ, mean of |x| {means[0]} and {means[1]}")
    return [statistics.median(samples) for samples in times]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--page", type=Path, help="page to write the table into")
    options = parser.parse_args()
    workers = [Worker(options.folder / program) for program in PROGRAMS]
    rows = ["| run | libtorch's tensor, µs a step | glint's, µs a step | ratio |", "|---|---|---|---|"]
    try:
        for name, case in CASES.items():
            torch, own = measure(workers, case, options.rounds)
            rows.append(f"| {name} | {torch:.0f} | {own:.0f} | {own / torch:.2f} |")
            print(rows[-1], flush=True)
    finally:
        for worker in workers:
            worker.close()
    if options.page:
        head, rest = options.page.read_text().split(BEGIN)
        table = "\n".join(rows)
        options.page.write_text(f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
