"""The commands of `wavenet`, a file for each; what they work with is imported when they run.

`wavenet --help` does not wait for torch.
"""
