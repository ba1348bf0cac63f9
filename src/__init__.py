"""AP-loss experiments: losses, detectors, data, and `python -m src.run`."""

import os

# OpenMP's threads spin while they wait for each other. Where cores are shared, with the processes that load images or
# with other runs, long spinning makes a training step up to ten times slower; short spinning costs nothing elsewhere.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
