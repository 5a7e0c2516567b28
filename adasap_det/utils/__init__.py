"""Helpers that every room may use: distribution, files, devices, timing, random numbers."""
