"""What follows from finished states: dispersion, density of states, stability, soft modes."""
