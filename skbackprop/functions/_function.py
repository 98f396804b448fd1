"""What the functions that users choose have in common: a name, settings, a formula and its source."""

from skbackprop._compile import loop
from skbackprop._parameters import NamedOnce
from skbackprop.functions._tuples import named_numbers

__all__ = ["N_SETTINGS", "Function", "named"]

#: Numbers that a function's settings take in the kernels, at most.
N_SETTINGS = 32

# Formulas find so many numbers at least, where a class's `settings` gives more than it has parameters.
_MIN_SETTINGS = 6


def named(settings, like):
    """Name under which templates read the settings of their formulas' class; see `Function.loop`."""
    raise NotImplementedError


class Function(NamedOnce):
    """A function that a parameter of the estimators chooses, with its settings.

    Its parameters are those of its constructor, as for scikit-learn's estimators: they can be read, set, cloned and searched
    (``solver__weight_decay``). A class is also registered under its `name`, which stands for an object with all defaults.

    Attributes
    ----------
    name : str
        Name in the registry.
    definition : str
        The definition in reStructuredText mathematics, for the documentation's tables.
    reference : str
        The source.
    """

    name: str
    definition: str
    reference: str = ""

    _parameter_constraints: dict = {}

    @classmethod
    def setting_names(cls):
        """Names by which formulas find the numbers of `settings`; those without a name they find by position.

        Returns
        -------
        names : tuple of str
            The parameters', unless the class has a `settings` of its own: then it also has to name its numbers.
        """
        return tuple(cls._get_param_names()) if cls.settings is Function.settings else ()

    @classmethod
    def named(cls):
        """What reads the settings for the formulas.

        Returns
        -------
        named : formula
            See `functions._tuples.named_numbers`.
        """
        return named_numbers(cls.setting_names(), _MIN_SETTINGS)

    @classmethod
    def loop(cls, template, **formulas):
        """A loop around the class's formulas, see `_compile.loop`.

        Parameters
        ----------
        template : callable
            Its ``named(settings, like)`` are the class's settings by their names.
        **formulas : callable
            Formulas, by the global names under which the template calls them.

        Returns
        -------
        loop : Loop
        """
        return loop(template, **formulas, named=cls.named())

    def settings(self):
        """Its settings as numbers, in the alphabetical order of their names.

        Returns
        -------
        settings : tuple of float
            At most `N_SETTINGS`.
        """
        return tuple(float(value) for value in self.get_params(deep=False).values())

    def kernel_kind(self):
        """The class whose formulas these settings ask for.

        Returns
        -------
        kind : type
        """
        return type(self)

    def key(self):
        """What tells functions apart: two of the same key are the same function.

        Returns
        -------
        key : tuple
        """
        return self.kernel_kind(), self.settings()
