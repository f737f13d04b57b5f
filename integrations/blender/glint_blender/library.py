"""glint's C interface for Python: engines, sessions and jobs over libglint_c.so, by ctypes and nothing else.

Functions and structs are those of include/glint/glint.h, which says what they mean. Failures are GlintError.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, byref
from ctypes import c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path

OK, CANCELLED, PENDING, NOT_FOUND = 0, 8, 100, 5
CONTINUE, CANCEL = 0, 1


class GlintError(RuntimeError):
    """What the library refused, with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Tensor(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("data", c_void_p),
        ("dtype", ctypes.c_int),
        ("rank", c_int32),
        ("sizes", POINTER(c_int64)),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("stage", c_char_p),
        ("step", c_int32),
        ("total", c_int32),
        ("denoised", Tensor),
        ("preview", POINTER(c_uint8)),
        ("preview_width", c_int32),
        ("preview_height", c_int32),
    ]


LOG = CFUNCTYPE(None, c_void_p, ctypes.c_int, c_char_p)
ON_EVENT = CFUNCTYPE(ctypes.c_int, c_void_p, POINTER(Event))


class EngineConfig(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("bundle", c_char_p),
        ("model", c_void_p),
        ("device", c_char_p),
        ("log", LOG),
        ("log_user", c_void_p),
        ("memory_limit", c_uint64),
    ]


class JobConfig(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t),
        ("on_event", ON_EVENT),
        ("user", c_void_p),
        ("preview_every", c_int32),
    ]


@dataclass(frozen=True)
class Picture:
    """RGBA, 8 bits each, rows from the top without gaps."""

    width: int
    height: int
    rgba: bytes


@dataclass
class Progress:
    """How far a job is, and its newest preview."""

    stage: str = ""
    step: int = 0
    total: int = 0
    preview: Picture | None = None


def default_path() -> str:
    """The library that GLINT_LIBRARY names, or the system's."""
    return os.environ.get("GLINT_LIBRARY") or ctypes.util.find_library("glint_c") or "libglint_c.so"


class Library:
    """The loaded library."""

    def __init__(self, path: str | Path | None = None) -> None:
        name = str(path or default_path())
        try:
            self.c = ctypes.CDLL(name)
        except OSError as error:
            raise GlintError(NOT_FOUND, f"{name}: cannot be loaded: {error}") from error
        handle, size = c_void_p, POINTER(c_size_t)
        for function, result, arguments in (
            ("glint_c_version", c_uint32, ()),
            ("glint_last_error", c_char_p, ()),
            ("glint_engine_create", c_int32, (POINTER(EngineConfig), POINTER(handle))),
            ("glint_engine_release", c_int32, (handle,)),
            ("glint_engine_memory", c_int32, (handle, c_char_p, POINTER(c_uint64))),
            ("glint_engine_component", c_int32, (handle, c_int32, c_char_p, c_size_t, size)),
            ("glint_engine_free_params", c_int32, (handle,)),
            ("glint_session_create", c_int32, (handle, POINTER(handle))),
            ("glint_session_release", c_int32, (handle,)),
            ("glint_session_set", c_int32, (handle, c_char_p, c_char_p)),
            ("glint_job_start", c_int32, (handle, POINTER(JobConfig), POINTER(handle))),
            ("glint_job_release", c_int32, (handle,)),
            ("glint_job_poll", c_int32, (handle,)),
            ("glint_job_wait", c_int32, (handle, c_int64)),
            ("glint_job_cancel", c_int32, (handle,)),
            ("glint_job_picture_size", c_int32, (handle, c_int32, POINTER(c_int32), POINTER(c_int32))),
            ("glint_job_picture", c_int32, (handle, c_int32, POINTER(c_uint8), c_size_t, c_size_t)),
        ):
            try:
                found = getattr(self.c, function)
            except AttributeError as error:
                raise GlintError(NOT_FOUND, f"{name}: has no {function}; an older glint?") from error
            found.restype, found.argtypes = result, arguments

    def check(self, status: int) -> None:
        """Raises the library's message unless the status is OK."""
        if status != OK:
            raise GlintError(status, self.c.glint_last_error().decode(errors="replace"))


class Handle:
    """An object of the library, released once."""

    release = ""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.handle = c_void_p()

    def close(self) -> None:
        handle, self.handle = self.handle, c_void_p()
        getattr(self.library.c, self.release)(handle)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Engine(Handle):
    """A model bundle. `memory_limit` bounds the bytes of its weights; 0 = no limit."""

    release = "glint_engine_release"

    def __init__(self, library: Library, bundle: str | Path, memory_limit: int = 0) -> None:
        super().__init__(library)
        config = EngineConfig(ctypes.sizeof(EngineConfig), str(bundle).encode(), memory_limit=memory_limit)
        library.check(library.c.glint_engine_create(byref(config), byref(self.handle)))

    def memory(self) -> dict[str, int]:
        """Bytes of the weights in memory by component."""
        name, sizes = ctypes.create_string_buffer(256), {}
        while self.library.c.glint_engine_component(self.handle, len(sizes), name, 256, None) == OK:
            size = c_uint64()
            self.library.check(self.library.c.glint_engine_memory(self.handle, name, byref(size)))
            sizes[name.value.decode()] = size.value
        return sizes


class Session(Handle):
    """Options of requests."""

    release = "glint_session_release"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.library)
        self.library.check(self.library.c.glint_session_create(engine.handle, byref(self.handle)))

    def set(self, key: str, value: object) -> None:
        """Sets an option; None takes its default again."""
        text = None if value is None else str(value).encode()
        self.library.check(self.library.c.glint_session_set(self.handle, key.encode(), text))

    def start(self, preview_every: int = 0, tell: Callable[[Progress], None] | None = None) -> Job:
        """Starts a job on a thread of its own. `tell` is called on that thread."""
        return Job(self, preview_every, tell)


class Job(Handle):
    """One run. Closing it cancels it and waits for it, at most one call of the network."""

    release = "glint_job_release"

    def __init__(self, session: Session, preview_every: int, tell: Callable[[Progress], None] | None) -> None:
        super().__init__(session.library)
        self.progress = Progress()
        self.fraction = 0.0  # of the run's steps; what a strategy does in one has steps of its own

        def on_event(_: object, pointer: object) -> int:
            event = pointer.contents
            preview = self.progress.preview
            if event.preview:
                width, height = event.preview_width, event.preview_height
                preview = Picture(width, height, ctypes.string_at(event.preview, 4 * width * height))
            self.progress = Progress(event.stage.decode(), event.step, event.total, preview)
            if self.progress.stage == "denoise":
                self.fraction = event.step / max(event.total, 1)
            if tell:
                tell(self.progress)
            return CONTINUE

        self.on_event = ON_EVENT(on_event)  # kept as long as the job may call it
        config = JobConfig(ctypes.sizeof(JobConfig), self.on_event, None, preview_every)
        self.library.check(self.library.c.glint_job_start(session.handle, byref(config), byref(self.handle)))

    def done(self) -> bool:
        """Whether the job has ended well.   Raises its failure, CANCELLED among them."""
        status = self.library.c.glint_job_poll(self.handle)
        if status == PENDING:
            return False
        self.library.check(status)
        return True

    def wait(self) -> None:
        self.library.check(self.library.c.glint_job_wait(self.handle, -1))

    def cancel(self) -> None:
        self.library.check(self.library.c.glint_job_cancel(self.handle))

    def picture(self, index: int = 0) -> Picture:
        c, width, height = self.library.c, c_int32(), c_int32()
        self.library.check(c.glint_job_picture_size(self.handle, index, byref(width), byref(height)))
        row = 4 * width.value
        pixels = (c_uint8 * (row * height.value))()
        self.library.check(c.glint_job_picture(self.handle, index, pixels, row, len(pixels)))
        return Picture(width.value, height.value, bytes(pixels))
