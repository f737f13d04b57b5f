"""Tests of the add-on's ctypes part, in a process of their own: one that has torch has another libtorch.

test_blender.py runs them: GLINT_C_LIBRARY names the library, EXPECTED the program's picture of 6 steps.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/emoji-flow"
sys.path.insert(0, str(ROOT / "integrations/blender/glint_blender"))

import library as glint_library  # noqa: E402

SHARED = Path(os.environ["GLINT_C_LIBRARY"])


@pytest.fixture(scope="module")
def engine() -> glint_library.Engine:
    return glint_library.Engine(glint_library.Library(SHARED), MODEL)


def asked(engine: glint_library.Engine, **options: object) -> glint_library.Session:
    session = glint_library.Session(engine)
    for key, value in {"prompt": "red apple", "steps": 6, "seed": 3, "with": "z-sampling"}.items():
        session.set(key, options.get(key, value))
    return session


def test_picture_is_the_program_s_with_progress_and_previews(
    engine: glint_library.Engine,
) -> None:
    told: list[glint_library.Progress] = []
    with asked(engine) as session, session.start(2, told.append) as job:
        job.wait()
        assert job.done()
        picture = job.picture()
    made = Image.frombytes("RGBA", (picture.width, picture.height), picture.rgba)
    assert made.tobytes() == Image.open(os.environ["EXPECTED"]).convert("RGBA").tobytes()
    steps = [progress.step for progress in told if progress.stage == "denoise"]
    assert steps[-1] == 6
    assert len({progress.preview.rgba for progress in told if progress.preview}) == 3
    assert set(engine.memory()) >= {"denoiser", "text_encoder", "vae_decoder"}


def test_cancelling_and_closing_end_a_job(engine: glint_library.Engine) -> None:
    session = asked(engine, steps=1000)
    job = session.start()
    assert not job.done()
    job.cancel()
    with pytest.raises(glint_library.GlintError, match="cancelled") as refused:
        job.wait()
    assert refused.value.status == glint_library.CANCELLED
    session.start().close()  # cancels, waits
    job.close()
    job.close()


def test_what_cannot_be_is_said(engine: glint_library.Engine, tmp_path: Path) -> None:
    with pytest.raises(glint_library.GlintError, match="did you mean 'steps'"):
        glint_library.Session(engine).set("step", 3)
    with pytest.raises(glint_library.GlintError, match="memory_limit: expected at least"):
        asked(glint_library.Engine(engine.library, MODEL, memory_limit=1000)).start()
    with pytest.raises(glint_library.GlintError, match=r"none\.so: cannot be loaded"):
        glint_library.Library(tmp_path / "none.so")
    with pytest.raises(glint_library.GlintError) as refused:
        glint_library.Engine(engine.library, tmp_path)
    assert refused.value.status == glint_library.NOT_FOUND
