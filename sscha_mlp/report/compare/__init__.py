"""Model against reference, and sizes of the supercell: figures and files."""
