"""The commands of radrim as Python functions. Each imports what it needs when it is called.

Keyword arguments are the options of the commands, with the types of `radrim.config.keywords`. `quiet` is common to all:
True prints warnings only, False prints the log always, None prints it in notebooks and interactive sessions, unless the
logger 'radrim' has a handler of the caller.
"""

from radrim.api.images import feather, mask
from radrim.api.imaging import compare, image, plan, selfcal
from radrim.api.observations import convert, info, predict, simulate

__all__ = ["compare", "convert", "feather", "image", "info", "mask", "plan", "predict", "selfcal", "simulate"]
