"""AP-loss experiments: losses, detectors, data, and `python -m src.run`."""

import os

# OpenMP's threads spin while they wait for each other. On a machine whose cores are shared, with the processes that
# load images or with other runs, that makes a training step up to ten times slower than sleeping does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
