"""Where a backend's time goes."""
