"""What follows from a converged state: dispersion, density of states, thermal expansion."""
