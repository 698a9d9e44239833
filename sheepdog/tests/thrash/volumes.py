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

"""Which volumes there are, and how redundant they are."""

from typing import NamedTuple

from sheepdog.placement import redundancy

MOST_COPIES = 5


class Kind(NamedTuple):
    """``user``: who uses it, see ``users``; ``policy``: as operators write
    it, '' for the cluster's own; ``is_altered``: its number of copies is
    altered now and then; ``turns``: the policies that it is turned into, all
    of which bear what copies bear; ``is_frail``: it bears one loss only, and
    so is there in every other phase."""

    name: str
    user: str
    policy: str = ''
    is_altered: bool = False
    is_frail: bool = False
    turns: tuple = ()

    @property
    def is_coded(self) -> bool:
        return ':' in self.policy

    def options(self) -> dict:
        """To create it."""
        if not self.policy:
            return {}
        return redundancy.parse(self.policy)._asdict()


KINDS = (
    Kind('owners', 'owner', is_altered=True),
    Kind('owners-4:2', 'owner', '4:2'),
    Kind('turned', 'owner', turns=('4:2', '3', '2:2')),
    Kind('nomad', 'nomad', is_altered=True),
    Kind('nomad-2:1', 'nomad', '2:1', is_frail=True),
    Kind('hasty', 'hasty'),
    Kind('hasty-4:2', 'hasty', '4:2'),
)
