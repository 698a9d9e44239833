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

"""The NBD protocol's numbers, and the tables from our errors to them.

``nbd_handshake`` and ``nbd_options`` have the handshake,
``nbd_transmission`` requests and replies. All integers on this wire are
big-endian.
"""

from typing import NamedTuple

from sheepdog.model import errors
from sheepdog.model import limits

STRING_MAX_BYTES = 4096
"""The protocol's limit for names, queries and texts."""

PAYLOAD_MAX_BYTES = limits.NBD_PAYLOAD_MAX_BYTES

BLOCK_MIN_BYTES = 1
BLOCK_PREFERRED_BYTES = limits.BLOCK_BYTES

# Transmission flags of an export.
FLAG_HAS_FLAGS = 1 << 0
FLAG_READ_ONLY = 1 << 1
FLAG_SEND_FLUSH = 1 << 2
FLAG_SEND_FUA = 1 << 3
FLAG_SEND_TRIM = 1 << 5
FLAG_SEND_WRITE_ZEROES = 1 << 6
FLAG_SEND_DF = 1 << 7
FLAG_CAN_MULTI_CONN = 1 << 8
FLAG_SEND_FAST_ZERO = 1 << 11

# Requests.
CMD_READ = 0
CMD_WRITE = 1
CMD_DISC = 2
CMD_FLUSH = 3
CMD_TRIM = 4
CMD_CACHE = 5
CMD_WRITE_ZEROES = 6
CMD_BLOCK_STATUS = 7

CMD_FLAG_FUA = 1 << 0
CMD_FLAG_NO_HOLE = 1 << 1
CMD_FLAG_DF = 1 << 2
CMD_FLAG_REQ_ONE = 1 << 3
CMD_FLAG_FAST_ZERO = 1 << 4

# What BLOCK_STATUS says of an extent in the context base:allocation.
CONTEXT_ALLOCATION = 'base:allocation'
STATE_HOLE = 1 << 0
STATE_ZERO = 1 << 1

# Errors in replies: the protocol's own numbers, whatever this machine's
# errno values are.
EPERM = 1
EIO = 5
ENOMEM = 12
EINVAL = 22
ENOSPC = 28
EOVERFLOW = 75
ENOTSUP = 95
ESHUTDOWN = 108

ERROR_NAMES = {EPERM: 'EPERM', EIO: 'EIO', ENOMEM: 'ENOMEM',
               EINVAL: 'EINVAL', ENOSPC: 'ENOSPC', EOVERFLOW: 'EOVERFLOW',
               ENOTSUP: 'ENOTSUP', ESHUTDOWN: 'ESHUTDOWN'}

# Replies to an option that refuse it.
REP_ERR_UNSUP = (1 << 31) + 1
REP_ERR_POLICY = (1 << 31) + 2
REP_ERR_INVALID = (1 << 31) + 3
REP_ERR_PLATFORM = (1 << 31) + 4
REP_ERR_TLS_REQD = (1 << 31) + 5
REP_ERR_UNKNOWN = (1 << 31) + 6
REP_ERR_SHUTDOWN = (1 << 31) + 7
REP_ERR_BLOCK_SIZE_REQD = (1 << 31) + 8
REP_ERR_TOO_BIG = (1 << 31) + 9

_ERRNO = {
    errors.SheepdogError: EIO,
    errors.InvalidParameters: EINVAL,
    errors.NoSpace: ENOSPC,
    errors.ReadOnly: EPERM,
    errors.ShuttingDown: ESHUTDOWN,
    # The volume is no longer ours, or gone.
    errors.VdiLocked: ESHUTDOWN,
    errors.VdiNotLocked: ESHUTDOWN,
    errors.NoVdi: ESHUTDOWN,
    MemoryError: ENOMEM,
}

_REFUSAL = {
    errors.SheepdogError: REP_ERR_POLICY,
    errors.NoVdi: REP_ERR_UNKNOWN,
    errors.NoTag: REP_ERR_UNKNOWN,
    errors.InvalidParameters: REP_ERR_INVALID,
    errors.ShuttingDown: REP_ERR_SHUTDOWN,
}


class Violation(errors.InvalidParameters):
    """The other side broke the protocol in a way that leaves no common
    ground: all one can do is close the connection."""


class Export(NamedTuple):
    """What a client is told of an export; ``size`` in bytes."""

    name: str
    size: int
    flags: int
    description: str = ''


def errno_of(error: BaseException) -> int:
    """The error number of a reply that this error stands for."""
    return _look_up(_ERRNO, error, EIO)


def refusal_of(error: BaseException) -> int:
    """The option reply that this error, met in opening an export, stands
    for."""
    return _look_up(_REFUSAL, error, REP_ERR_POLICY)


def _look_up(table: dict, error: BaseException, default: int) -> int:
    for cls in type(error).__mro__:
        if cls in table:
            return table[cls]
    return default


def export_flags(read_only: bool, can_multi: bool) -> int:
    """The transmission flags of an export that serves all we have.

    SEND_DF depends on the connection too: the handshake adds it.

    :param can_multi: a flush over one connection covers what was
        acknowledged over all others
    """
    flags = FLAG_HAS_FLAGS | FLAG_SEND_FLUSH | FLAG_SEND_FUA
    if read_only:
        flags |= FLAG_READ_ONLY
    else:
        flags |= (FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES |
                  FLAG_SEND_FAST_ZERO)
    if can_multi:
        flags |= FLAG_CAN_MULTI_CONN
    return flags


def encode_text(text: str) -> bytes:
    """UTF-8, cut (between characters) to what a string may have."""
    return text.encode('utf-8', 'replace')[:STRING_MAX_BYTES].decode(
        'utf-8', 'ignore').encode()
