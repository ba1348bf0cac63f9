"""Perturbations of test images and attacks on finished detectors, one file for each kind in Table 3."""
