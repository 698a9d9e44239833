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

"""The garbage collector, kept away from what lives as long as the sheep.

A full collection looks at every container there is, and the loop stands still
meanwhile. So what exists once the sheep has started is frozen, and full
collections are rarer than Python's own choice; what grows with the cluster
lies in arrays, which the collector does not look at. (The metric
``sheepdog_gc_pause_seconds`` tells what pauses are left.)
"""

import gc

YOUNG_OBJECTS = 10_000
"""Allocations between two collections of the youngest: requests leave no
cycles behind, so there is little to find."""
ROUNDS = 50
"""Collections of one generation between two of the next."""


def settle() -> None:
    """The sheep has started: what is there now is there to stay."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, ROUNDS, ROUNDS)
