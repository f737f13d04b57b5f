"""Writing TorchScript archives without debug files, which hold paths of the machine that traced them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import torch

ALIGNMENT = 64  # tensor data is mapped straight from the file


def _padding(offset: int, name: str) -> bytes:
    """A zip extra field that moves the data of an entry at `offset` to the next aligned byte."""
    start = offset + 30 + len(name.encode()) + 4
    count = -start % ALIGNMENT
    return b"FB" + count.to_bytes(2, "little") + b"Z" * count


def save_stripped(module: torch.jit.ScriptModule, path: Path) -> None:
    """Saves a module uncompressed, aligned, with fixed dates and without debug entries."""
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    with zipfile.ZipFile(buffer) as source, path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                if entry.filename.endswith(".debug_pkl"):
                    continue
                copy = zipfile.ZipInfo(entry.filename, date_time=(1980, 1, 1, 0, 0, 0))
                copy.extra = _padding(file.tell(), entry.filename)
                target.writestr(copy, source.read(entry))


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
