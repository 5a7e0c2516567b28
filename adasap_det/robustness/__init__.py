"""Corrupted benchmarks and robustness: build them, measure P, mPC and rPC, show them."""
