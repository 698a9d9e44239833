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

"""Is there room for the loss of one zone, or of a node?

What those hold that go is made anew on the others, by their weights;
provided that there are zones enough for it: where each of those that are
left has a copy already, nothing is made. Pure.
"""

from typing import Iterable, NamedTuple, Optional


class Node(NamedTuple):
    """``weight`` on the ring; ``used`` bytes of objects; ``room``: bytes
    that recovery may take without touching the reserve."""

    name: str
    zone: int
    weight: int
    used: int
    room: int


class Lack(NamedTuple):
    """Were ``zone`` lost (or one of its nodes; 0: none), ``node`` would be
    given ``needed`` bytes, and has room for ``room``."""

    zone: int
    node: str
    needed: int
    room: int


def worst_lack(nodes: Iterable[Node], copies: int) -> Optional[Lack]:
    """The largest one, whichever zone is lost; None: all would fit."""
    nodes = [node for node in nodes if node.weight]
    lacks = []
    for zone in sorted({node.zone for node in nodes}):
        lacks += _lacks([node for node in nodes if node.zone == zone],
                        [node for node in nodes if node.zone != zone], copies)
    return _worst(lacks)


def lack_without(nodes: Iterable[Node], copies: int,
                 name: str) -> Optional[Lack]:
    """The largest one, were this node to keep nothing any more."""
    nodes = [node for node in nodes if node.weight]
    return _worst(_lacks([node for node in nodes if node.name == name],
                         [node for node in nodes if node.name != name],
                         copies))


def lack_for(nodes: Iterable[Node], new: int) -> Optional[Lack]:
    """The largest one, were so many bytes written, by the nodes' weights."""
    return _worst(_lacks_for([node for node in nodes if node.weight], new))


def _lacks(gone: list, left: list, copies: int) -> list:
    if not gone or len({node.zone for node in left}) < copies:
        return []
    return _lacks_for(left, sum(node.used for node in gone), gone[0].zone)


def _lacks_for(nodes: list, new: int, zone: int = 0) -> list:
    total = sum(node.weight for node in nodes)
    return [Lack(zone, node.name, needed, max(node.room, 0))
            for node in nodes
            for needed in [new * node.weight // total]
            if needed > max(node.room, 0)]


def _worst(lacks: list) -> Optional[Lack]:
    return max(lacks, key=lambda lack: lack.needed - lack.room, default=None)
