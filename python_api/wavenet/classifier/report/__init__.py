"""A run as one HTML file: data, curves, mistakes to look at and listen to, size and speed."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.report.page import make_report

__all__ = ["make_report"]
