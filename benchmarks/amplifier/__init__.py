"""The C library against an engine that models guitar amplifiers, on that engine's own network."""
