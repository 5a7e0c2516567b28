"""The report on a sweep: one self-contained HTML page, with its numbers as CSV and JSON."""

from adasap_det.robustness.report.write import write_report

__all__ = ['write_report']
