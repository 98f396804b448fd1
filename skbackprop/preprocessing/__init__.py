"""Tables of numbers, categories and dates, prepared for a network."""

from skbackprop.preprocessing._table_encoder import TableEncoder

__all__ = ["TableEncoder"]
