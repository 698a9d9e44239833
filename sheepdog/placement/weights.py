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

"""How many vnodes a member gets: its share of the objects.

Integer arithmetic throughout: every sheep gets the same numbers.
"""

from sheepdog.model import limits

BY_SPACE = -1
"""Wanted vnodes that mean "by the space I have"."""


def reference_of(spaces) -> int:
    """The space (bytes) that stands for 128 vnodes: the mean at format.

    Gateways count with space 0 and are left out.
    """
    spaces = [space for space in spaces if space > 0]
    return sum(spaces) // len(spaces) if spaces else 0


def vnodes_by_space(space: int, reference: int) -> int:
    """128 × space ÷ reference, rounded (half up), at least 1.

    Without a reference every member weighs the same.
    """
    if reference <= 0:
        return limits.VNODES_DEFAULT
    vnodes = ((2 * limits.VNODES_DEFAULT * max(space, 0) + reference)
              // (2 * reference))
    return min(max(vnodes, 1), limits.VNODES_MAX)


def vnodes_of(wanted: int, space: int, reference: int) -> int:
    """What a new member gets: 0 for a gateway, a fixed number, or by space.
    """
    if wanted == BY_SPACE:
        return vnodes_by_space(space, reference)
    return min(wanted, limits.VNODES_MAX)
