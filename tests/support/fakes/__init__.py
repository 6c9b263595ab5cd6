"""Backends that are right, or wrong in a way of their own; a child process can import them.

Each is the reference backend but for what its name says.
"""
