#!/usr/bin/env python3
"""Makes tests/data/attention from the .npz files recorded with the authors' own kernels.

Usage: attention.py FOLDER_OF_NPZ
Keeps what the tests read: inputs in float16 (their values are exact in every type), the decisions, and the
results of the intended formula computed in float64 with those decisions.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[2] / "tests/data/attention"

# One for each thing that can go wrong; the others repeat them.
CASES = {
    "pisa_01_n256_d64": "all three orders",
    "pisa_06_n300_d96_b32": "covariance selection, batch 2, head size 96, blocks of 32, the last one short",
    "pisa_10_n640_b16_g32": "40 blocks: the released kernel loses mass here and is off by 1.59",
    "pisa_15_n320_d64_fp16": "float16",
    "pisa_16_n509_d64_bf16": "bfloat16, short last block",
    "isa0_03_q192_k509_bf16": "order zeroth with fewer queries than keys, true block lengths",
    "isa0_04_k1280_g16": "order zeroth, 20 blocks: the released kernel is off by 1.51",
    "isa_02_s1280_d128_gate": "ISA with a gate per token",
}
DECISIONS = {
    "src_blocks": "context_blocks",
    "dense_q": "sharp_blocks",
    "sparse_q": "diffuse_blocks",
    "kv_blocks": "exact_blocks",
}
RESULTS = {
    "out_ref": "out",
    "out_ref_true_lengths": "out",
    "out_order0": "out_zeroth",
    "out_order1": "out_first",
}


def tensors_of(case: np.lib.npyio.NpzFile, heads_last: bool) -> dict[str, np.ndarray]:
    tensors = {}
    for name in case.files:
        value = case[name]
        if name in ("q", "k", "v"):
            tensors[name] = value
        elif name in RESULTS:  # true lengths come later in the file, and win
            tensors[RESULTS[name]] = value
        elif name == "indices" or name in DECISIONS:
            tensors[DECISIONS.get(name, name)] = value.astype(np.int32)
        elif name == "gate":
            tensors[name] = value[:, :, 0, 0]
    if heads_last:
        for name in ("q", "k", "v", "out"):
            tensors[name] = tensors[name].swapaxes(1, 2)
    return {name: np.ascontiguousarray(value) for name, value in tensors.items()}


def main(folder: str) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    manifest = {
        "source": {
            "pisa": "xie-lab-ml/piecewise-sparse-attention, commit 8604494",
            "isa": "xie-lab-ml/Lightning-Unified-Video-Editor-via-In-Context-Sparse-Attention, "
            "commit b05b55e",
        },
        "made_by": "the decisions by the authors' Triton kernels in Triton 3.6's interpreter; "
        "the results by a float64 implementation of the intended formula with those decisions",
        "tolerance": {"float32": 1e-6, "float16": 1e-3, "bfloat16": 2e-2},
        "why": "absolute, for outputs of size 1: sums of a few hundred products in float32; "
        "one rounding of the result (and of inputs that are already exact) in the two half types",
        "cases": {},
    }
    for name, about in CASES.items():
        with np.load(Path(folder) / f"{name}.npz") as case:
            meta = json.loads(str(case["meta"]))
            save_file(tensors_of(case, meta["op"] == "isa"), OUT / f"{name}.safetensors")
        entry = {
            key: meta[key]
            for key in ("op", "density", "block", "covariance", "t_len", "sparsity")
            if key in meta
        }
        entry |= {"dtype": meta["dtype"].removeprefix("torch."), "about": about}
        entry["sha256"] = hashlib.sha256((OUT / f"{name}.safetensors").read_bytes()).hexdigest()
        manifest["cases"][name] = entry
    (OUT / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
