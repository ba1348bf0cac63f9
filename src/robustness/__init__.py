"""Perturbations of test images and attacks on finished detectors (Table 3), one file per kind."""
