"""The report of a run: figures in, one self-contained HTML page out. Pure: no files, no clock, no network."""

from dataflow.report.data import AggregationView, ReportData
from dataflow.report.page import render

__all__ = ["AggregationView", "ReportData", "render"]
