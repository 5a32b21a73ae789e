"""Free-energy minimisation: estimators, minimiser, cell step; python-sscha behind one adapter."""
