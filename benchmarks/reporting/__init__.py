"""Rows of measurements and what is made of them: tables, plots, comparisons."""
