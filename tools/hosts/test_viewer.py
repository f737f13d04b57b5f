"""The viewer shows previews and then the picture in its window, and a key cancels its job.

Runs under Xvfb (Debian: xvfb), whose screen is a file; skips where it, or SDL2 for the build, is missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/emoji-flow"
SIDE, ESCAPE, SPACE = 512, 0xFF1B, 0x20


class Screen:
    """A screen of Xvfb, and the one window on it."""

    def __init__(self, folder: Path) -> None:
        read, write = os.pipe()
        geometry = f"{SIDE}x{SIDE}x24"
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", geometry, "-fbdir", str(folder)]
        self.process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as told:
            self.name = f":{told.readline().strip()}"
        self.file = folder / "Xvfb_screen0"

    def picture(self) -> Image.Image:
        """What the screen shows, from the XWD file that Xvfb keeps of it."""
        data = self.file.read_bytes()
        header = struct.unpack(">25I", data[:100])
        begin, row = header[0] + 12 * header[19], header[12]
        return Image.frombytes("RGB", (SIDE, SIDE), data[begin : begin + row * SIDE], "raw", "BGRX", row, 1)

    def press(self, key: int) -> None:
        """Sends a key to the window."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        display = ctypes.c_void_p(x11.XOpenDisplay(self.name.encode()))
        x11.XDefaultRootWindow.restype = ctypes.c_ulong
        root = ctypes.c_ulong(x11.XDefaultRootWindow(display))
        parent, children, count = ctypes.c_ulong(), ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
        x11.XQueryTree(
            display, root, *map(ctypes.byref, (parent, parent, children, count))
        )
        code = x11.XKeysymToKeycode(display, ctypes.c_ulong(key))
        for kind in (2, 3):  # press, release
            # XKeyEvent: type, serial, send_event, display, window, root, subwindow, time, x, y, x_root,
            # y_root, state, keycode, same_screen
            fields = (kind, 0, 1, display.value, children[0], root.value, 0, 0, 1, 1, 1, 1, 0, code, 1)
            event = struct.pack("@iLiPLLLLiiiiIIi", *fields).ljust(192, b"\0")
            x11.XSendEvent(display, ctypes.c_ulong(children[0]), 1, 1 << (kind - 2), event)
        x11.XSync(display, 0)
        x11.XCloseDisplay(display)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed (Debian: xvfb)")
    screen = Screen(tmp_path)
    yield screen
    screen.process.terminate()
    screen.process.wait()


@pytest.fixture
def viewer() -> Path:
    file = Path(os.environ.get("GLINT_VIEWER", ROOT / "build/dev/examples/viewer"))
    if not file.is_file():
        pytest.skip("examples/viewer is not built: SDL2 (Debian: libsdl2-dev) was missing")
    return file


def eventually(true: Callable[[], bool], seconds: float = 120.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_previews_then_the_picture_and_a_key_that_cancels(
    screen: Screen, viewer: Path, tmp_path: Path
) -> None:
    command = [viewer, MODEL, "red apple", "steps=60", "with=z-sampling", "seed=4"]
    environment = os.environ | {"DISPLAY": screen.name, "OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "x11"}
    glint = viewer.parents[1] / "glint"
    picture = tmp_path / "apple.png"
    asked = ["--model", MODEL, "--steps", "60", "--with", "z-sampling", "--seed", "4", "--threads", "1"]
    subprocess.run([glint, "generate", "red apple", *asked, "-q", "-o", picture], check=True, timeout=300)
    expected = Image.open(picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            shown = set()

            def final() -> bool:
                now = screen.picture()
                if len(now.getcolors(SIDE * SIDE) or []) > 50:  # neither empty nor the bare background
                    shown.add(now.tobytes())
                return now.tobytes() == expected.tobytes()

            assert eventually(final)
            assert len(shown) > 3  # previews, each another
            assert process.stdout.readline() == "glint: done\n"

            screen.press(SPACE)  # the next seed
            assert eventually(lambda: screen.picture().tobytes() != expected.tobytes())
            screen.press(ESCAPE)
            assert process.stdout.readline() == "glint: cancelled\n"
            cancelled = screen.picture().tobytes()
            time.sleep(0.3)
            assert screen.picture().tobytes() == cancelled
        finally:
            process.terminate()


def test_what_cannot_be_is_said(screen: Screen, viewer: Path) -> None:
    for arguments, reason in {
        (): "usage: viewer",
        ("nowhere", "red apple"): "nowhere",
        (MODEL, "red apple", "stepz=3"): "did you mean 'steps'?",
        (MODEL, "red apple", "steps"): "expected KEY=VALUE, got steps",
    }.items():
        environment = os.environ | {"DISPLAY": screen.name}
        command = [viewer, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0
        assert reason in done.stderr
