"""Sources that a script generates: written, or compared with what is there."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def main(description: str | None, file: Path, source: Callable[[], str]) -> int:
    """The command line of a script whose `source` is to stand in `file`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is another")
    if parser.parse_args().check:
        return 0 if file.read_text() == source() else 1
    file.write_text(source())
    return 0
