"""Robustness report: a self-contained HTML page, and its numbers as CSV and JSON."""

from adasap_det.robustness.report.write import write_report

__all__ = ['write_report']
