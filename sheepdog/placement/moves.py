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

"""What moves between two views.

Nodes are named by their stable id (``Member.node``): a sheep that comes back
with a new incarnation still has its objects.
"""

from typing import NamedTuple

import numpy


class Move(NamedTuple):
    """One object whose holders change. All are tuples of node ids, in the
    order of the ring.

    ``gains`` must get it; ``losses`` held it and need it no more; ``stays``
    hold it in both views.
    """

    oid: int
    gains: tuple
    losses: tuple
    stays: tuple


def moves(old, new, oids, copies: int) -> list:
    """The ``Move`` of each object whose holders change, in order of
    ``oids``.

    :param old: the ``Ring`` before
    :param new: the ``Ring`` after
    """
    oids = numpy.asarray(oids, dtype=numpy.uint64)
    before = old.targets_many(oids, copies)
    after = new.targets_many(oids, copies)
    old_nodes = [member.node for member in old.view.members]
    new_nodes = [member.node for member in new.view.members]

    # Compare sets of holders as sorted rows of numbers that mean the same
    # node in both views; only rows that differ become objects.
    numbers = {node: number for number, node
               in enumerate(dict.fromkeys(old_nodes + new_nodes))}
    if before.shape == after.shape and before.size:
        held = _numbered(before, old_nodes, numbers)
        wanted = _numbered(after, new_nodes, numbers)
        changed = numpy.flatnonzero((held != wanted).any(axis=1))
    else:
        changed = numpy.arange(len(oids))
    result = []
    for oid, held, wanted in zip(oids[changed].tolist(),
                                 before[changed].tolist(),
                                 after[changed].tolist()):
        held = [old_nodes[index] for index in held]
        wanted = [new_nodes[index] for index in wanted]
        gains = tuple(node for node in wanted if node not in held)
        losses = tuple(node for node in held if node not in wanted)
        if gains or losses:
            result.append(Move(oid, gains, losses, tuple(
                node for node in wanted if node in held)))
    return result


def _numbered(targets, nodes, numbers):
    table = numpy.array([numbers[node] for node in nodes], numpy.int64)
    return numpy.sort(table[targets], axis=1)
