"""Base class of the functions that users select: a name, settings, formulas and their source."""

from collections.abc import Callable
from typing import Any

from skbackprop._compile import loop
from skbackprop._parameters import NamedOnce
from skbackprop.functions._tuples import named_numbers

__all__ = ["N_SETTINGS", "Function", "named"]

#: Maximum number of settings of a function in the kernels.
N_SETTINGS = 32

# Minimum length of the tuple of settings, for classes whose `settings` returns more numbers than there are parameters.
_MIN_SETTINGS = 6


def named(settings: Any, like: Any) -> Any:
    """Placeholder for the formula by which templates read the settings; see `Function.loop`."""
    raise NotImplementedError


class Function(NamedOnce):
    """A function with settings, as a value of an estimator's parameter.

    As in scikit-learn's estimators, the constructor's arguments are parameters, which can be read, set, cloned and
    searched (``solver__weight_decay``). A class is also registered under its `name`, which stands for an object with
    default settings.

    Attributes
    ----------
    name : str
        Name in the registry.
    definition : str
        Formula in LaTeX, for the documentation's tables.
    reference : str
        Source of the formula.
    """

    name: str
    definition: str
    reference: str = ""

    _parameter_constraints: dict[Any, Any] = {}

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Return the names of the numbers in `settings`, by which formulas access them.

        Returns
        -------
        names : tuple of str
            Names of the parameters. A class that overrides `settings` overrides this, too; unnamed numbers are accessed
            by position.
        """
        return tuple(cls._get_param_names()) if cls.settings is Function.settings else ()

    @classmethod
    def named(cls) -> Any:
        """Return the formula that reads the settings into a named tuple.

        Returns
        -------
        named : formula
            See `functions._tuples.named_numbers`.
        """
        return named_numbers(cls.setting_names(), _MIN_SETTINGS)

    @classmethod
    def loop(cls, template: Callable, **formulas: Any) -> Any:
        """Return a loop around the class's formulas, see `_compile.loop`.

        Parameters
        ----------
        template : callable
            Reads the class's settings with ``named(settings, like)``.
        **formulas : callable
            Formulas, by the global names under which the template calls them.

        Returns
        -------
        loop : Loop
        """
        return loop(template, **formulas, named=cls.named())

    def settings(self) -> tuple[float, ...]:
        """Return the settings as numbers, in alphabetical order of their names.

        Returns
        -------
        settings : tuple of float
            At most `N_SETTINGS`.
        """
        return tuple(float(value) for value in self.get_params(deep=False).values())

    def kernel_kind(self) -> Any:
        """Return the class with the formulas for these settings.

        Returns
        -------
        kind : type
        """
        return type(self)

    def key(self) -> tuple[Any, ...]:
        """Return what identifies the function: objects with equal keys compute the same.

        Returns
        -------
        key : tuple
        """
        return self.kernel_kind(), self.settings()
