#!/usr/bin/env bash
# Every measurement on a GPU for docs/performance.md: the tests on CUDA, and `sde-edit bench` of Stable
# Diffusion 1.5 and ADM with random weights and of the embedded model. It should take about 25 minutes on one
# H100 with nothing else running.
#
#   scripts/gpu_day.sh OUT.md                       with the python of .venv, else python3
#   PYTHON=python3.12 scripts/gpu_day.sh OUT.md
#
# OUT.md is written again after every step: tables, commands, card, driver, versions, and what failed; a
# step that fails does not stop the others. The random weights, 4.5 GB, go to a temporary folder. Without a
# GPU it says so and exits with 1.
set -euo pipefail

if ! nvidia-smi --list-gpus 2> /dev/null | grep -q .; then
    echo "gpu_day: there is no GPU: nvidia-smi finds none" >&2
    exit 1
fi
scripts=$(dirname "$0")
own=$scripts/../.venv/bin/python
[ -x "$own" ] || own=python3
exec "${PYTHON:-$own}" "$scripts/gpu_day.py" "$@"
