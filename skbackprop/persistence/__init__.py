"""Model files that run no code when they are read, and that are written atomically."""
