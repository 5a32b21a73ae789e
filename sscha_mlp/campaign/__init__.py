"""The loop of labelling, fitting, relaxing and certifying: configuration, journal, resume."""
