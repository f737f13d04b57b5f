"""python -m glint_export PIPELINE_DIR OUT_DIR"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .archives import SUFFIX
from .errors import ExportError
from .exporter import DTYPES, Options, export_pipeline


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="glint_export", description="Exports a diffusers pipeline as a glint bundle."
    )
    parser.add_argument("pipeline", type=Path, metavar="PIPELINE_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="what the networks compute in")
    parser.add_argument("--backend", choices=SUFFIX, default="torchscript")
    parser.add_argument("--device", default="cpu", help="where to trace: cpu or cuda")
    parser.add_argument(
        "--weak", type=Path, metavar="DIR", help="a second pipeline, whose denoiser becomes weak_denoiser"
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
    try:
        export_pipeline(Options(**vars(parser.parse_args())))
    except ExportError as error:
        print(f"glint_export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
