"""The operators against PyTorch: workloads, contenders, what is measured of them."""
