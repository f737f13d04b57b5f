"""Folders that PEFT writes, and the factor it gives each layer's product.

    python tools/golden/peft_folders.py            writes tests/data/lora
    python tools/golden/peft_folders.py --check    fails if they are not what PEFT writes

PEFT keeps alpha in adapter_config.json, for all layers or by patterns. scaling.json has what its layers
multiply B A by.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

FOLDER = Path(__file__).resolve().parents[2] / "tests/data/lora"
NAMES = ("to_q", "to_k", "to_v", "ff")
CONFIGS: dict[str, dict[str, object]] = {
    "peft-plain": {"lora_alpha": 16},
    "peft-rslora": {"lora_alpha": 8, "use_rslora": True},
    "peft-patterns": {
        "lora_alpha": 2, "rank_pattern": {"blocks.1.to_k": 2},
        "alpha_pattern": {"to_q": 12, r"blocks\.1\..*": 3},
    },
}  # fmt: skip


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({n: nn.Linear(6, 6) for n in NAMES}) for _ in range(2))


def write(folder: Path, name: str) -> None:
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules=list(NAMES), init_lora_weights=False, **CONFIGS[name])
    model = get_peft_model(Network(), config)
    model.save_pretrained(str(folder / name))
    (folder / name / "README.md").unlink(missing_ok=True)
    # The order of a set differs between runs, and where Network comes from between ways to call this.
    path = folder / name / "adapter_config.json"
    settings = json.loads(path.read_text())
    settings["target_modules"].sort()
    settings["auto_mapping"] = None
    path.write_text(json.dumps(settings, indent=2) + "\n")
    # Loaded again: the order of patterns, of which the first that fits holds, is the file's.
    model = PeftModel.from_pretrained(Network(), str(folder / name))
    scaling = {
        path.removeprefix("base_model.model."): module.scaling["default"]
        for path, module in model.named_modules()
        if hasattr(module, "scaling") and module.scaling
    }
    (folder / name / "scaling.json").write_text(json.dumps(scaling, indent=1, sort_keys=True) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        for name in CONFIGS:
            write(FOLDER, name)
        return 0
    with tempfile.TemporaryDirectory() as work:
        for name in CONFIGS:
            write(Path(work), name)
            for path in (Path(work) / name).iterdir():
                if path.read_bytes() != (FOLDER / name / path.name).read_bytes():
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
