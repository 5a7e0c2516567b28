"""Corrupted benchmarks: build them, measure P, mPC and rPC on them, and report the results."""
