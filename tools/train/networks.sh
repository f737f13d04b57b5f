#!/bin/sh
# CoRe2's weak network and the golden-noise network of the bundled model, from nothing to the bundle and its figures:
#   tools/train/networks.sh WORK [BUNDLE]        what WORK already has is gone on with
# Environment: GLINT (the program; ./glint), PYTHON (tools/env's), SMOKE=1 (a few items and steps)
set -eu
root=$(dirname -- "$(readlink -f -- "$0")")/../..
work=$1
bundle=${2:-$root/models/emoji-flow}
glint=${GLINT:-$root/glint}
python=${PYTHON:-$("$root/tools/env")}
smoke=${SMOKE:+--smoke}
train=$root/tools/train

# shellcheck disable=SC2086  # one option or none
{
  "$python" "$train/prompts.py" --work "$work" $smoke
  for side in prompts held_out; do
    suffix=
    [ $side = prompts ] || suffix=-held-out
    "$glint" collect trajectories --model "$bundle" --prompts "$work/$side.txt" -o "$work/trajectories$suffix" \
      --steps 10 --seed 1000000 --batch 16 --threads 1
    "$glint" collect noise-pairs --model "$bundle" --prompts "$work/$side.txt" -o "$work/noise-pairs$suffix" \
      --steps 5 --seed 2000000 --batch 16 --threads 1
  done
  "$python" "$train/weak_network.py" --work "$work" $smoke
  "$python" "$train/golden_noise.py" --work "$work" $smoke
  "$python" "$train/export_networks.py" --work "$work" --bundle "$bundle"
  "$python" "$train/measure_networks.py" --work "$work" --bundle "$bundle" $smoke
}
