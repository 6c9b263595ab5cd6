"""A run as one HTML file: data, curves, mistakes to look at and listen to, size and speed."""

from wavenet.errors import extra

with extra("classifier"):
    from wavenet.classifier.report.page import report_page

__all__ = ["report_page"]
