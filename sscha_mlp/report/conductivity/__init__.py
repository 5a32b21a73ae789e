"""Heat transport as figures and files."""
