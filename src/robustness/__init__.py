"""Perturbations of test images and attacks on finished detectors, one file for each column of Table 3."""
