"""The records of a run: what passes between stages, onto disk, and into the report."""
