"""The AP-loss experiments: losses, detectors, data, training, and the programs that `python -m src` lists."""
