#!/bin/sh
# Makes the bundled model's CoRe2 weak network and golden-noise network, from nothing to bundle and figures:
#   tools/train/networks.sh WORK [BUNDLE]        continues with what WORK already has
# Environment: GLINT (the program; ./glint), PYTHON (tools/env's), THREADS (of the collections; 1),
# SMOKE=1 (a few items and steps)
set -eu
root=$(dirname -- "$(readlink -f -- "$0")")/../..
work=${1:?the folder to work in is missing: tools/train/networks.sh WORK [BUNDLE]}
bundle=${2:-$root/models/emoji-flow}
glint=${GLINT:-$root/glint}
python=${PYTHON:-$("$root/tools/env")}
smoke=${SMOKE:+--smoke}
train=$root/tools/train

# shellcheck disable=SC2086  # one option or none
{
  "$python" "$train/network_prompts.py" --work "$work" $smoke
  # collect KIND FOLDER PROMPTS STEPS SEED: more prompts beat more steps, but for the last sigmas.
  collect() {
    "$glint" collect "$1" --model "$bundle" -o "$work/$2" --prompts "$work/$3.txt" --steps "$4" --seed "$5" \
      --batch 16 --threads "${THREADS:-1}"
  }
  collect trajectories trajectories prompts 10 1000000
  collect trajectories trajectories-fine fine 20 5000000
  collect trajectories trajectories-held-out held_out 20 3000000
  head -n 500 "$work/prompts.txt" >"$work/pair_prompts.txt"
  collect noise-pairs noise-pairs pair_prompts 5 2000000
  collect noise-pairs noise-pairs-held-out held_out 5 4000000
  "$python" "$train/weak_network.py" --work "$work" --bundle "$bundle" $smoke
  "$python" "$train/golden_noise.py" --work "$work" $smoke
  "$python" "$train/export_networks.py" --work "$work" --bundle "$bundle"
  "$python" "$train/measure_networks.py" --work "$work" --bundle "$bundle" $smoke
}
