# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""What is Linux's own, and the calls that Python has no name for."""

import ctypes
import errno
import os
import resource

_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                       ctypes.c_int64)
_fallocate.restype = ctypes.c_int

_ZEROES = bytes(1 << 20)

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MALLOC_SETTINGS = 'MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_'
KEPT_BYTES = 16 << 20
"""Freed memory that is not given back to the kernel. Four requests of 1 MiB
have 12 MiB in a gateway, of a VDI in strips: were less of it kept, nearly all
would be given back, and wanted again, with every few of them."""
MAPPED_FROM_BYTES = 4 << 20
"""What is at least so long gets pages of its own, and gives them back."""


def keep_freed_memory() -> bool:
    """Let malloc keep what was freed for what is allocated next.

    glibc by itself gives back all but a few hundred KiB: then each 128 KiB
    that are copied are 32 page faults, which take twenty times as long as the
    copy. False: it cannot be told (another library), or the environment has
    told it already.
    """
    mallopt = getattr(_libc, 'mallopt', None)
    if mallopt is None or any(name in os.environ
                              for name in _MALLOC_SETTINGS):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
                and mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES))


def raise_file_limit() -> int:
    """Let this process have as many open files as it may; how many."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def punch_hole(fd: int, offset: int, size: int) -> None:
    """Give the blocks of a range back; without the ability, write zeroes.

    The file keeps its size.

    :raises OSError: EIO, ENOSPC…
    """
    while _fallocate(fd, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE,
                     offset, size):
        code = ctypes.get_errno()
        if code == errno.EOPNOTSUPP:
            _write_zeroes(fd, offset, size)
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def _write_zeroes(fd: int, offset: int, size: int) -> None:
    end = min(offset + size, os.fstat(fd).st_size)
    while offset < end:
        offset += os.pwrite(fd, _ZEROES[:end - offset], offset)
