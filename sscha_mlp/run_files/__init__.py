"""What lies on disk in a run directory: records, settings, journal, status."""
