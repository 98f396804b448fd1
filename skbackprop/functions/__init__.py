"""The mathematics: scalar and row formulas, one source for every backend."""
