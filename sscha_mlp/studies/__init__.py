"""What begins with finished runs: comparison, Hessian, response, larger cells, sweeps."""
