"""Adds CoRe2's weak network and the golden-noise network to a bundle: files and manifest entries.

    $(tools/env) tools/train/export_networks.py --work DIR --bundle models/emoji-flow [--other-weights]

Takes DIR/core2_weak.pt and DIR/npnet.pt, whichever is there, if they were trained on the collections in DIR
and these were made with this bundle's networks. With --other-weights it also takes networks trained on
predictions of earlier weights in the same latent space; measure_networks.py then says what they are worth.
The weak network's weights are kept in 8 bits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from glint_train.bundle import WHAT_IS_A_BUNDLE, read_manifest
from glint_train.collection import joint_identity, training_collections
from glint_train.components import export_component
from glint_train.fit import load_result
from glint_train.networks import NoiseNetwork, WeakNetwork
from glint_train.quantise import quantise
from glint_train.words import WordTokenizer, read_words

# Class, kind of collection, whether its weights get 8 bits.
NETWORKS: dict[str, tuple[type[nn.Module], str, bool]] = {
    "core2_weak": (WeakNetwork, "trajectories", True),
    "npnet": (NoiseNetwork, "noise-pairs", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument(
        "--other-weights", action="store_true", help="take networks trained on other weights' predictions"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="accepted for symmetry; the export is always short"
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    manifest = read_manifest(options.bundle)
    words = WordTokenizer(read_words(options.bundle, WHAT_IS_A_BUNDLE)).size
    found = [name for name in NETWORKS if (options.work / f"{name}.pt").exists()]
    if not found:
        raise SystemExit(f"{options.work} holds none of: " + ", ".join(f"{name}.pt" for name in NETWORKS))
    for name in found:
        network, kind, int8 = NETWORKS[name]
        trained_on = None
        if not options.other_weights:
            collections = training_collections(options.work, kind, partial=True)
            for collection in collections:
                collection.check_model(manifest)
            trained_on = joint_identity(collections)
        model = load_result(network(), options.work / f"{name}.pt", trained_on)
        parameters = sum(p.numel() for p in model.parameters())
        model = quantise(model) if int8 else model
        file = options.bundle / f"{name}.pt"
        manifest["components"][name] = export_component(model, file, network.INPUTS, words)
        print(f"{file.name} {file.stat().st_size} bytes, {parameters} parameters")
    (options.bundle / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
