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

"""Names of one life of a sheep: ``<node>.<start time>``.

A node id is for ever; each process start and each lapse begins a new
incarnation. Of two incarnations of one node the one that started later
lives; the other is dead, because the lock on the store directory lets only
one process of a node run.
"""

from typing import Iterable


def name(node: str, start: int) -> str:
    """``start`` counts nanoseconds since 1970."""
    return '%s.%016x' % (node, start)


def node_of(incarnation: str) -> str:
    return incarnation.rpartition('.')[0]


def age_key(incarnation: str) -> tuple:
    """Sorts the oldest first, whatever node they are of.

    Start times need no leading zeroes: the longer number is the later.
    """
    start = incarnation.rpartition('.')[2]
    return len(start), start, incarnation


def newest(incarnations: Iterable[str]) -> dict:
    """Node id → its latest incarnation."""
    result = {}
    for incarnation in incarnations:
        node = node_of(incarnation)
        other = result.get(node)
        if other is None or age_key(other) < age_key(incarnation):
            result[node] = incarnation
    return result
