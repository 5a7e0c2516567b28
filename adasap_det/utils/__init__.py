"""Utilities: configs, devices, distribution, files, random numbers, timing."""
