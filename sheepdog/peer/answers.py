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

"""What replicas answer, besides data: whoever asked believes none of it
before it has been looked at."""

import struct

import numpy

from sheepdog.model import errors
from sheepdog.model import limits
from sheepdog.model import shapes
from sheepdog.wire import peer as wire

_PAIR = struct.Struct('<II')
_LISTED = numpy.dtype('<u8')


def pack_extents(extents):
    return b''.join(_PAIR.pack(offset, size) for offset, size in extents)


def unpack_extents(payload):
    """:raises CorruptFrame: it is no EXTENTS answer"""
    return _unpack_all(_PAIR, payload)


def pack_list(oids):
    return numpy.asarray(oids, dtype=_LISTED).tobytes()


def unpack_list(payload):
    """The object ids of a LIST answer, an array.

    :raises CorruptFrame: it is none
    """
    if len(payload) % _LISTED.itemsize:
        raise errors.CorruptFrame('a list of %d bytes' % len(payload))
    return numpy.frombuffer(payload, dtype=_LISTED)


_STATE = {'exists': bool, 'version': int, 'capacity': int, 'digest': str,
          'bad': int, 'uncertain': int, 'power_lost': bool, 'clean': bool,
          'through': int, 'behind': int, 'apart': list, 'marks': list,
          'serial': int, 'spoilt': bool, 'torn': bool}
_LATER = {'behind': 0, 'apart': [0, -1, False], 'spoilt': False,
          'torn': False}
"""What a sheep of the version before does not tell; and ``apart``, see
``Standing``, ``spoilt``, see ``past``, and ``torn``, see ``choice``, are told
only where they mean something."""


def unpack_state(payload):
    """The description of a copy in a STATE answer.

    :raises CorruptFrame: it is none
    """
    try:
        state = dict(_LATER, **wire.unpack_json(payload))
        shapes.check(state, _STATE, 'a STATE answer')
    except errors.InvalidParameters as exc:
        raise errors.CorruptFrame(str(exc)) from None
    if not (0 <= state['capacity'] <= 1 << limits.OBJECT_SHIFT_MAX
            and all(type(mark) is int for mark in state['marks'])
            and list(map(type, state['apart'])) == [int, int, bool]):
        raise errors.CorruptFrame('a STATE answer makes no sense')
    return state


def check_table(payload, capacity):
    """:raises CorruptFrame: it is no TABLE answer for that capacity"""
    if len(payload) * limits.BLOCK_BYTES != capacity * 4:
        raise errors.CorruptFrame('a table of %d bytes for an object of %d'
                                  % (len(payload), capacity))


def _unpack_all(layout, payload):
    if len(payload) % layout.size:
        raise errors.CorruptFrame('an answer of %d bytes, in pieces of %d'
                                  % (len(payload), layout.size))
    return list(layout.iter_unpack(payload))
