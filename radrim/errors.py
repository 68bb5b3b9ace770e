"""What can go wrong because of the input or the machine: one class per kind, all of them ``RadrimError``.

The command prints the message and exits with status 2; a caller in Python catches ``RadrimError``.
Each message says what is wrong, the value found, the limit, and what to do.
"""


class RadrimError(Exception):
    """Base of every error that the user can act on."""


class ConfigError(RadrimError):
    """An option, or a combination of options, that cannot be carried out."""


class InputError(RadrimError):
    """A Measurement Set, mask or other input file that cannot be read or used."""


class DataError(InputError):
    """The file is readable, but what is in it cannot be imaged: all flagged, no weights, NaN."""


class OutputError(RadrimError):
    """The results cannot be written where they were asked for."""


class ClusterError(RadrimError):
    """The cluster that was to do the work cannot be reached, or has lost its workers."""


class SolverError(RadrimError):
    """The deconvolution met numbers it cannot work with."""


class PeerError(RadrimError):
    """The program to compare with is missing, has no such option, failed, or ran out of time."""
