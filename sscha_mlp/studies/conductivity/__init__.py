"""Heat transport of finished runs, with errors."""
