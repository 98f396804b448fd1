"""The training loop: epochs, learning rates, stopping, which weights are kept. No compiled code."""
