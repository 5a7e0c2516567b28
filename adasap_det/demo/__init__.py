"""End-to-end demo on a CPU, without downloads: ``python -m adasap_det.demo``."""
