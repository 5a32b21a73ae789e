"""Properties of a crystal from its force constants: dispersion, density of states, entropy."""
