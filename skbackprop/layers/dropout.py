"""Dropout layer: zeroes inputs of a dense layer at random while training."""

from dataclasses import dataclass

from skbackprop.layers._layer import Layer

__all__ = ["Dropout"]


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout (Srivastava et al., 2014) of the inputs of the dense layer of the same stage.

    The rate belongs to a training, not to the network: see `functions.penalties.Penalties`. The stored slopes of the
    activation before include the factors of kept units, so dropout has no backward step.
    """

    def forward_steps(self, trains):
        """Return the step that drops units."""
        return ("drop",) if trains else ()
