"""Features of recordings that models are given beside the waveform."""
