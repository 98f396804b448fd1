"""Decisions of training: epochs, rates, stopping, what is kept. No compiled code."""
