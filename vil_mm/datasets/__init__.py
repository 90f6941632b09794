"""Datasets that OpenMMLab lacks, and checks of any run's data."""
