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

"""What a strip lacks that was away for a short time. Pure.

Of a generation, all its targets have what was closed. Where neither this
strip nor d others have anything else, nor have changed since, they are alike;
and what d strips are, all are. ``doc/source/design-erasure.rst`` has the
argument.
"""

from sheepdog.recovery import torn
from sheepdog.store import changed
from sheepdog.store import history as store_history


def changes(strips, data: int) -> dict:
    """Generation → (its floor, what may have changed of the object since);
    only of generations that d strips know.

    :param strips: ``told.Told``, of those that all others are made of
    :param data: d
    """
    known: dict = {}
    for strip in strips:
        for generation, (floor, bits) in strip.changed.items():
            known.setdefault(generation, []).append(
                (strip.index, floor, bits))
    found = {}
    union = 0
    for generation in sorted(known, reverse=True):
        if len({index for index, _, _ in known[generation]}) < data:
            continue
        for _, _, bits in known[generation]:
            union |= bits
        found[generation] = (max(floor for _, floor, _ in known[generation]),
                             union)
        if len(found) == store_history.CHANGED_MAX:
            break
    return found


def lacking(history, others: dict, bad, capacity: int,
            is_torn: bool = False):
    """Ranges ``(offset, size)`` of the strip that are to be made anew, None:
    all of it.

    :param history: the strip's
    :param others: what ``changes`` says
    :param bad: numbers of its blocks that cannot be used
    :param capacity: of the strip
    :param is_torn: it may not know what was done to it last
    """
    for generation in sorted(others, reverse=True):
        floor, bits = others[generation]
        own = history.since(generation, floor)
        if own is not None:
            if is_torn and generation == history.generation \
                    and torn.lacks_floor(history.floor, history.open, floor):
                return None
            bits |= own
            for block in bad:
                bits |= 1 << block % changed.BITS
            ranges = changed.ranges(bits, capacity)
            return None if ranges == [(0, capacity)] else ranges
    return None


def kept_bytes(extents, ranges) -> int:
    """Of blocks that are not zero, when the ranges are to be made anew.

    :param extents: ``(offset, size)`` of what is not zero now
    """
    return sum(size - sum(
        max(0, min(offset + size, first + count) - max(offset, first))
        for first, count in ranges) for offset, size in extents)
