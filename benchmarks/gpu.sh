#!/bin/sh
# Check and measure everything that needs a GPU, in at most 10 minutes on one H100; a table comes last.
#
#   bash benchmarks/gpu.sh [--device cuda|cpu] [--quick] [--out FOLDER]
#
# Needs torch and torchvision; parts that need more are skipped where it is missing. PYTHON=… chooses the interpreter.
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "$PYTHON" ]; then
    PYTHON=python3
    [ -x "$root/.venv/bin/python" ] && PYTHON=$root/.venv/bin/python
fi
# -P: a folder of the caller's that is also called benchmarks must not be taken for this one.
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -P -m benchmarks.gpu "$@"
