"""The classifier: the network with labels, its data, its training and its use."""
