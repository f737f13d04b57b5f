"""python -m glint_export PIPELINE OUT_DIR"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

# What it says when it is imported is about pictures that are read, and no pipeline here reads any.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import diffusers  # noqa: E402
import transformers  # noqa: E402

from .archives import SUFFIX  # noqa: E402
from .errors import ExportError  # noqa: E402
from .exporter import DTYPES, Options, describe, export_pipeline  # noqa: E402


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="glint_export", description="Exports a diffusers pipeline as a glint bundle."
    )
    parser.add_argument(
        "pipeline",
        type=Path,
        metavar="PIPELINE",
        help="a folder in diffusers' format, or a .safetensors file",
    )
    parser.add_argument("out", type=Path, metavar="OUT_DIR", nargs="?")
    parser.add_argument(
        "--check", action="store_true", help="say what would be exported or why not, and write nothing"
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="what the networks compute in")
    parser.add_argument("--backend", choices=SUFFIX, default="torchscript")
    parser.add_argument(
        "--components",
        type=Path,
        metavar="DIR",
        action="append",
        default=[],
        help="a folder in diffusers' format with what a single file lacks, such as text_encoder_2 and vae",
    )
    parser.add_argument("--device", default="cpu", help="where to trace: cpu or cuda")
    parser.add_argument("--variant", help="which weights to take if a folder has several, such as fp16")
    parser.add_argument("--steps", type=int, help="default number of steps; default: the pipeline class's")
    parser.add_argument(
        "--guidance", type=float, help="default guidance scale, 1 is off; default: the pipeline class's"
    )
    parser.add_argument(
        "--solver", metavar="NAME[:key=value,...]", help="default solver; default: the scheduler's"
    )
    parser.add_argument(
        "--weak", type=Path, metavar="DIR", help="a second pipeline, whose denoiser becomes weak_denoiser"
    )
    parser.add_argument(
        "--perturb",
        metavar="KIND:LAYERS",
        help="perturbed_denoiser for perturbed guidance: skip:7,8,9 leaves blocks of a transformer out, "
        "pag:mid_block and seg:mid_block change self-attention of sdxl",
    )
    parser.add_argument(
        "--ops",
        type=Path,
        metavar="LIBRARY",
        help="libglint_ops.so: attention of an aoti denoiser obeys a policy",
    )
    parser.add_argument(
        "--npnet", type=Path, metavar="FILE", help="NPNet's checkpoint (Golden Noise), for sdxl"
    )
    parser.add_argument(
        "--core2", type=Path, metavar="FILE", help="checkpoint of CoRe2's weak network, for sdxl and sd3"
    )
    parser.add_argument("--traceback", action="store_true", help="show where an unexpected error came from")
    given = parser.parse_args()
    if given.out is None and not given.check:
        parser.error("OUT_DIR is missing")
    return given


class LogFile(logging.FileHandler):
    """A file that is made, with its folder, when something is written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, mode="w", delay=True)

    def _open(self) -> TextIO:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def keep_warnings(path: Path | None) -> None:
    """Sends what libraries and the tracer warn of to a file, or nowhere."""
    handler = LogFile(path) if path else logging.NullHandler()
    logging.captureWarnings(True)
    transformers.utils.logging.set_verbosity_warning()
    for name in ("py.warnings", "diffusers", "transformers"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def main() -> int:
    given = vars(arguments())
    check, traceback = given.pop("check"), given.pop("traceback")
    options = Options(**given | {"components": tuple(given["components"])})
    keep_warnings(None if check else options.out.with_name(options.out.name + ".log"))
    try:
        if check:
            print(describe(options))
        else:
            export_pipeline(options)
    except ExportError as error:
        print(f"glint_export: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if traceback:
            raise
        lines = str(error).strip().splitlines() or [""]
        print(
            f"glint_export: unexpected {type(error).__name__}: {lines[0]} (--traceback shows where)",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
