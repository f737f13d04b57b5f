"""What the training tests share: stages run as users run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a stage's script with `--smoke` and returns what it printed."""

    def run_stage(stage: str, *arguments: str) -> str:
        command = [sys.executable, str(HERE / f"{stage}.py"), *arguments, "--smoke"]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_stage
