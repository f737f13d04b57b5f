"""Prints the CPU seconds that commands of the program take from start to end.

    python tools/bench/start.py PROGRAM... [--runs N]

Programs run in turn; the figures are medians. One thread: OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

COMMANDS = (
    ("--version",),
    ("--help",),
    ("list",),
    ("generate", "x", "--with", "apgg"),
    ("generate", "red apple", "--steps", "1", "-q"),
    ("generate", "red apple", "-q"),
)


def cpu_seconds(command: list[str], folder: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("programs", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    programs = [str(program.resolve()) for program in options.programs]
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            seconds = {program: [] for program in programs}
            for _ in range(options.runs):
                for program in programs:
                    seconds[program].append(cpu_seconds([program, *command], folder))
            figures = "  ".join(f"{statistics.median(seconds[program]):.4f}" for program in programs)
            print(f"{figures}  glint {' '.join(command)}", flush=True)


if __name__ == "__main__":
    main()
