"""What follows from converged states: stability, and soft modes over temperature."""
