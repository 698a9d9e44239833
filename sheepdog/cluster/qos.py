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

"""How much of a cluster's pace one VDI may take: its limits. Pure.

They are part of the replicated state: all sheep hear of a change at the same
place of the one order, and have it after any restart. They belong to a name,
as attributes do: a snapshot gives the working VDI another id, and it keeps
its limits; so does one that is rolled back. Its snapshots, and clones of
these, do not get them.
"""

from typing import Any, Mapping, NamedTuple

from sheepdog.model import errors
from sheepdog.model import limits

KINDS = ('iops', 'read-iops', 'write-iops', 'bytes', 'read-bytes',
         'write-bytes')
"""What may be limited, each a second: requests or bytes, in all or of one
direction. All that are set hold at once."""

BURST_DEFAULT_SECONDS = 0.1


class Rate(NamedTuple):
    """``burst``: so many more may come at once after a rest; 0: as many as
    in a tenth of a second."""

    rate: int
    burst: int = 0

    def size(self) -> float:
        """How many may come at once."""
        return self.burst or max(1.0, self.rate * BURST_DEFAULT_SECONDS)


def is_bytes(kind: str) -> bool:
    return kind.endswith('bytes')


def checked(fields: Any) -> dict:
    """Kind → ``Rate``, in the order of KINDS.

    :param fields: as JSON has it: kind → [rate, burst]
    :raises InvalidParameters:
    """
    if not isinstance(fields, Mapping):
        raise errors.InvalidParameters('limits are %.40r' % (fields,))
    for kind, rate in fields.items():
        if kind not in KINDS:
            raise errors.InvalidParameters(
                'there is no limit %.40r, but %s' % (kind, ', '.join(KINDS)))
        _check(kind, rate)
    return {kind: Rate(*fields[kind]) for kind in KINDS if kind in fields}


def _check(kind: str, rate: Any) -> None:
    if not isinstance(rate, (list, tuple)) or len(rate) != 2 or not all(
            type(one) is int for one in rate):
        raise errors.InvalidParameters(
            'the limit %s is a pace and a burst, not %.40r' % (kind, rate))
    lowest, highest = (
        (limits.QOS_BYTES_MIN, limits.QOS_BYTES_MAX) if is_bytes(kind)
        else (1, limits.QOS_IOPS_MAX))
    if not (lowest <= rate[0] <= highest and 0 <= rate[1] <= highest):
        raise errors.InvalidParameters(
            'the limit %s is %d to %d a second, its burst up to that: not '
            '%d and %d' % (kind, lowest, highest, *rate))


def to_dict(found: Mapping) -> dict:
    return {kind: list(rate) for kind, rate in found.items()}


def decide(known: Mapping, name: str, changes: Any) -> dict:
    """The event that changes limits of a VDI. What is not among the changes
    stays: so of two operators none undoes what the other has set.

    :param known: its limits so far
    :param changes: kind → [rate, burst], or None for none any more
    :raises InvalidParameters:
    """
    if not isinstance(changes, Mapping):
        raise errors.InvalidParameters('changes is missing')
    checked({kind: rate for kind, rate in changes.items()
             if rate is not None})
    wanted = {**to_dict(known), **changes}
    return {'kind': 'vdi-qos', 'name': name, 'limits': to_dict(checked(
        {kind: rate for kind, rate in wanted.items() if rate is not None
         or kind not in KINDS}))}


def parse_changes(text: str) -> dict:
    """Changes as tools send them, in numbers: ``iops=500:0,bytes=none``.

    :raises InvalidParameters:
    """
    found: dict = {}
    for word in text.split(',') if text else ():
        kind, _, value = word.partition('=')
        numbers = value.split(':')
        if value == 'none':
            found[kind] = None
        elif all(one.isascii() and one.isdigit() and len(one) < 20
                 for one in numbers):
            found[kind] = list(map(int, numbers))
        else:
            raise errors.InvalidParameters('%.40r changes no limit' % word)
    return found


def changed(table: Mapping, name: str, found: Mapping) -> dict:
    """Of all VDIs, by name; ``found`` is that one's now. Another table: state
    that was copied shares the one before."""
    table = {one: rates for one, rates in table.items() if one != name}
    if found:
        table[name] = found
    return table
