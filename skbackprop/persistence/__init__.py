"""Files of numbers that run no code when they are read, and that are never half written."""
