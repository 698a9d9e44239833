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


def vnodes_by_space(space: int, reference: int) -> int:
    """128 × space ÷ reference, rounded (half up), at least 1.

    Without a reference every member weighs the same.
    """
    if reference <= 0:
        return limits.VNODES_DEFAULT
    vnodes = ((2 * limits.VNODES_DEFAULT * max(space, 0) + reference)
              // (2 * reference))
    return min(max(vnodes, 1), limits.VNODES_MAX)
