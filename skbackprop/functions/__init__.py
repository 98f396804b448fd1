"""The formulas of the networks, written once for all backends, and the objects by which users choose them.

If a function has settings, the estimators' parameter takes a name or an object: ``solver="adamw"`` or
``solver=AdamW(weight_decay=0.05)``.
"""

from skbackprop.functions import activations, input_layers, losses, normalizations, optimizers, schedules
from skbackprop.functions.activations import *  # noqa: F403
from skbackprop.functions.input_layers import *  # noqa: F403
from skbackprop.functions.losses import *  # noqa: F403
from skbackprop.functions.normalizations import *  # noqa: F403
from skbackprop.functions.optimizers import *  # noqa: F403
from skbackprop.functions.schedules import *  # noqa: F403

_REGISTRIES = (
    activations.ACTIVATIONS,
    input_layers.INPUT_LAYERS,
    losses.LOSSES,
    normalizations.NORMALIZATIONS,
    optimizers.OPTIMIZERS,
    schedules.SCHEDULES,
)

__all__ = sorted(kind.__name__ for registry in _REGISTRIES for kind in registry.values())
