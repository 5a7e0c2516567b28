"""The main job end to end on a CPU with nothing to download: ``python -m adasap_det.demo``."""
