"""Errors that the user can correct: one class per kind, all derived from ``RadrimError``.

The command prints the message and exits with status 2; a caller in Python catches ``RadrimError``.
Each message says what is wrong, the value found, the limit, and what to do.
"""


class RadrimError(Exception):
    """Base class of all errors that the user can correct."""


class ConfigError(RadrimError):
    """An option, or a combination of options, is not possible."""


class KeywordError(ConfigError, TypeError):
    """A function of radrim has no such keyword argument."""


class InputError(RadrimError):
    """A Measurement Set, mask or other input file cannot be read or used."""


class DataError(InputError):
    """The data of a readable file cannot be imaged: all samples are flagged, without weight, or NaN."""


class NothingLeftError(DataError):
    """No sample of a file is left in the selection; of several files the others can be imaged."""


class OutputError(RadrimError):
    """The results cannot be written to the given path."""


class ClusterError(RadrimError):
    """The cluster cannot be reached, or has lost its workers."""


class SolverError(RadrimError):
    """The deconvolution has numbers with which it cannot continue."""


class PeerError(RadrimError):
    """The program to compare with is missing, does not support an option, failed, or exceeded its time limit."""


class MissingPackageError(RadrimError, ImportError):
    """An optional package that a function needs is not installed."""
