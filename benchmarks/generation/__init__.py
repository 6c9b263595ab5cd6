"""Figures of making sound."""
