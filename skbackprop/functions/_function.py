"""What the functions that users choose have in common: a name, settings, a formula and its source."""

from skbackprop._parameters import NamedOnce

__all__ = ["N_SETTINGS", "Function"]

#: Numbers that a function's settings take in the kernels, at most; elementwise formulas get the first six.
N_SETTINGS = 32


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

    def settings(self):
        """Its settings as numbers, in the order in which its formulas take them.

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
