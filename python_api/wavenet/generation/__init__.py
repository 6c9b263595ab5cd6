"""Making sound sample by sample: distributions, WaveNets, and the generation loop's other ends."""
