"""Evaluation over corruptions and severities. Source: Michaelis et al. 2019 (arXiv 1907.07484)."""
