"""The operators against reference implementations: workloads x contenders x measurements."""
