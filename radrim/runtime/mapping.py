"""Maps arrays from files without keeping the files open.

Python's `mmap`, and so `numpy.memmap`, keeps a file descriptor for each mapping. An observation of some hundred
Measurement Sets, each with several arrays, would exceed the usual limit of 1024 open files. A mapping needs no open
file.
"""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any, cast

import numpy as np

_LIBC = ctypes.CDLL(None, use_errno=True)
_ADDRESS, _SIZE, _INT, _OFFSET = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_longlong
_LIBC.mmap.argtypes, _LIBC.mmap.restype = [_ADDRESS, _SIZE, _INT, _INT, _INT, _OFFSET], _ADDRESS
_LIBC.munmap.argtypes = [_ADDRESS, _SIZE]
_LIBC.madvise.argtypes = _LIBC.msync.argtypes = [_ADDRESS, _SIZE, _INT]
_FAILED = ctypes.c_void_p(-1).value
_MS_SYNC = 0x10 if os.uname().sysname == "Darwin" else 4


class Mapping:
    """A file mapped into memory, until no array uses it.

    Parameters
    ----------
    path : str or Path
    shared : bool
        Whether changes reach the file; otherwise pages that change are copied.
    """

    def __init__(self, path: str | Path, shared: bool):
        access = os.O_RDWR if shared else os.O_RDONLY
        descriptor = os.open(path, access)
        try:
            self.size = os.fstat(descriptor).st_size
            protection, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
            address = _LIBC.mmap(None, self.size, protection, kind, descriptor, 0)
        finally:
            os.close(descriptor)
        if address == _FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
        self._address = address
        self.buffer = (ctypes.c_char * self.size).from_address(address)
        weakref.finalize(self.buffer, _LIBC.munmap, address, self.size).atexit = False

    def flush(self) -> None:
        """Write changes to the disk. Raises OSError if it cannot."""
        self._check(_LIBC.msync(self._address, self.size, _MS_SYNC))

    def madvise(self, advice: int) -> None:
        """Tell the system how the memory is used; see `mmap.mmap.madvise`."""
        self._check(_LIBC.madvise(self._address, self.size, advice))

    def _check(self, status):
        if status:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def map_array(path: str | Path, shared: bool = False) -> np.memmap:
    """An array mapped from its file (.npy), which does not stay open.

    Parameters
    ----------
    path : str or Path
    shared : bool
        See `Mapping`.

    Returns
    -------
    memmap
        Its `_mmap` is a `Mapping`.

    Raises
    ------
    OSError
        The file does not exist, or cannot be mapped.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_column, dtype = read(file)
        offset = file.tell()
    mapping = Mapping(path, shared)
    array: Any = np.ndarray.__new__(
        np.memmap, shape, dtype, cast("Any", mapping.buffer), offset, order="F" if by_column else "C"
    )
    array._mmap = mapping  # noqa: SLF001 - where numpy keeps it, and hands it on to views
    array.filename, array.offset, array.mode = Path(path), offset, "r+" if shared else "c"
    return array
