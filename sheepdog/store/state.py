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

"""What the store tells about itself and its objects."""

import errno
import typing

from sheepdog.model import errors


class ObjectState(typing.NamedTuple):
    """One replica, as recovery compares it.

    ``version``: epoch of the last write. ``digest``: 8 bytes over the
    checksum table, equal where contents are equal. ``whole``: no block is
    known to be bad. ``uncertain``: blocks whose unsynced writes a power cut
    may have torn; their content was accepted as found.
    """

    version: int
    capacity: int
    digest: bytes
    whole: bool
    uncertain: int


class Gauges(typing.NamedTuple):
    """``is_full``: what takes more room is refused. ``has_failed``: a sync
    was refused, nothing can be written any more. ``journal_used_bytes``:
    what a start would replay, of both segments."""

    objects: int
    open_objects: int
    bad_objects: int
    free_bytes: int
    is_full: bool
    has_failed: bool
    journal_bytes: int
    journal_used_bytes: int
    is_checkpointing: bool


class Counters:
    """Plain numbers since the start."""

    __slots__ = ('writes', 'written_bytes', 'reads', 'read_bytes', 'zeroes',
                 'removes', 'adopts', 'flushes', 'cold_reads', 'bad_reads',
                 'batches', 'journal_bytes', 'journal_syncs', 'object_syncs',
                 'directory_syncs', 'checkpoints', 'stalls', 'errors',
                 'opened', 'evicted', 'replayed_records',
                 'replayed_objects', 'uncertain_blocks', 'lost_objects',
                 'bad_blocks', 'mended_blocks')

    def __init__(self):
        for name in self.__slots__:
            setattr(self, name, 0)

    def to_dict(self) -> dict:
        return {name: getattr(self, name) for name in self.__slots__}


_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def typed(error: OSError, what: str) -> errors.SheepdogError:
    """The operating error that stands for an ``OSError``."""
    text = '%s: %s' % (what, error.strerror or error)
    if error.errno in _FULL:
        return errors.NoSpace(text)
    return errors.StorageError(text)
