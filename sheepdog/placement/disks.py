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

"""Among a node's disks: which one keeps an object.

Each disk draws a number for the object, from its own id, and the highest
one gets it; numbers are drawn so that a disk of twice the weight wins twice
as often (weighted rendezvous hashing). What the others have drawn does not
depend on who else is there: so a disk that comes takes objects from all,
one that goes gives its own to all, and nothing else moves.
"""

import math
from typing import Mapping, Optional

from sheepdog.model import ids
from sheepdog.placement import ring

_UNIT = 1.0 / (1 << 53)


class Disks:
    """Immutable. ``weights``: disk id → its size in bytes (above 0)."""

    def __init__(self, weights: Mapping[str, int]):
        self._drawers = [
            (disk, ids.next_hash(ids.fnv1a(disk.encode())),
             -float(weights[disk])) for disk in sorted(weights)]

    def place(self, oid: int) -> Optional[str]:
        """The id of the disk that should keep an object; None: there is no
        disk."""
        hashed = ring.object_hash(oid)
        best = None
        highest = -1.0
        for disk, seed, weight in self._drawers:
            # Above 0, below 1.
            drawn = ((ids.next_hash(ids.next_hash(seed ^ hashed)) >> 11)
                     + 0.5) * _UNIT
            number = weight / math.log(drawn)
            if number > highest:
                best, highest = disk, number
        return best
