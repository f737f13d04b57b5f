"""The Blender add-on: its ctypes part by itself, and all of it inside Blender.

Blender (Debian: blender, python3-numpy; 0.6 GB) is not installed for these tests; those that need it skip
where it is missing. In the interface it runs under Xvfb.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "integrations/blender/glint_blender"
MODEL = ROOT / "models/emoji-flow"


def built(name: str, variable: str) -> Path:
    """The newest ordinary build of a file, or the one the environment variable names."""
    found = [ROOT / "build" / preset / name for preset in ("dev", "release")]
    found = [path for path in found if path.is_file()]
    if variable in os.environ:
        return Path(os.environ[variable])
    if not found:
        pytest.skip(f"{name} is built neither in build/dev nor in build/release")
    return max(found, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def shared() -> Path:
    return built("libglint_c.so", "GLINT_C_LIBRARY")


def expected(folder: Path, steps: int) -> Path:
    """The program's picture."""
    file = folder / "expected.png"
    asked = ["--steps", str(steps), "--seed", "3", "--with", "z-sampling", "--threads", "1", "-q"]
    program = built("glint", "GLINT_PROGRAM")
    subprocess.run([program, "generate", "red apple", "--model", MODEL, *asked, "-o", file], check=True)
    return file


def test_ctypes_part(shared: Path, tmp_path: Path) -> None:
    cases = Path(__file__).with_name("library_cases.py")
    named = {"GLINT_C_LIBRARY": str(shared), "EXPECTED": str(expected(tmp_path, 6)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(cases)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | named
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def in_blender(mode: str, shared: Path, folder: Path, steps: int, *before: str) -> str:
    """What Blender prints, started without anybody's settings and with the add-on installed."""
    if not shutil.which("blender"):
        pytest.skip("Blender is not installed (Debian: blender python3-numpy)")
    (folder / "addons").mkdir()
    (folder / "addons/glint_blender").symlink_to(ADDON)
    (folder / "expected.rgba").write_bytes(Image.open(expected(folder, steps)).convert("RGBA").tobytes())
    window = ["-b"] if mode == "script" else ["-p", "0", "0", "400", "300"]
    command = [*before, "blender", "--factory-startup", *window, "--python-exit-code", "3"]
    command += ["--python", str(Path(__file__).with_name("in_blender.py")), "--", str(shared), str(MODEL)]
    own = {"BLENDER_USER_SCRIPTS": str(folder), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder / "expected.rgba"), mode],
        env=os.environ | own, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_operator_fills_an_image_from_a_script(shared: Path, tmp_path: Path) -> None:
    assert "script: fine" in in_blender("script", shared, tmp_path, 20)


def test_operator_leaves_the_interface_free(shared: Path, tmp_path: Path) -> None:
    if not shutil.which("xvfb-run"):
        pytest.skip("xvfb-run is not installed (Debian: xvfb xauth)")
    screen = ("xvfb-run", "-a", "-s", "-screen 0 640x480x24")
    assert "interface: fine" in in_blender("interface", shared, tmp_path, 150, *screen)
