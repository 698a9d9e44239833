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

"""Operators alter the number of copies of VDIs, while clients use them and
things go wrong: again before the last time has come to its end, and also to
more than there are zones. They also turn them from copies to strips, and
back."""

import dataclasses
from typing import Collection

from sheepdog.model import errors
from sheepdog.placement import redundancy
from sheepdog.testing import cluster as cluster_module
from sheepdog.testing import steps

FEWEST = 2
"""With one copy each fault would be a loss."""
MOST = 5
TURNS = ('2', '3', '2:1', '2:2')
"""To what VDIs are turned; one with too few zones is refused."""
ANSWERS = ('done', 'VdiLocked', 'InvalidParameters', 'NoVdi')
"""After these nothing may happen later."""


@dataclasses.dataclass
class AlterationSettings:
    pause_seconds: float = 0.0
    """Between two of them, on average; 0: there are none."""
    weights: dict = dataclasses.field(default_factory=lambda: {
        'alter': 5, 'repeat': 1, 'default': 1})


class Alterations(steps.Steps):
    """See ``Steps``. ``unsettled()`` is called before each of them."""

    def __init__(self, cluster, workload, settings: AlterationSettings,
                 unsettled, seed: str, without: Collection[str] = ()):
        super().__init__('alteration', cluster.simulation.trace, seed,
                         settings.weights, settings.pause_seconds, without)
        self.cluster = cluster
        self.workload = workload
        self.outcomes = {}
        self._unsettled = unsettled
        self._last = None
        self._asked = {}
        self._open = {}
        self._sure = {}
        """Name ('': of new VDIs) → (when it was made, its copies)."""

    def _serving(self, source):
        nodes = self.cluster.serving()
        return nodes[source.randrange(len(nodes))] if nodes else None

    def _alter(self, source) -> None:
        names = [name for name, _ in self.workload.settings.volumes]
        self._last = (names[source.randrange(len(names))],
                      redundancy.Policy(source.randint(FEWEST, MOST)))
        self._ask(self._serving(source), *self._last)

    def _turn(self, source) -> None:
        """To copies if it has strips, else to strips."""
        names = [name for name, _ in self.workload.settings.volumes]
        self._last = (names[source.randrange(len(names))],
                      redundancy.parse(TURNS[source.randrange(len(TURNS))]))
        self._ask(self._serving(source), *self._last)

    def _repeat(self, source) -> None:
        """The same once more, by another way."""
        if self._last is not None:
            self._ask(self._serving(source), *self._last)

    def _default(self, source) -> None:
        self._ask(self._serving(source), '',
                  redundancy.Policy(source.randint(FEWEST, MOST)))

    def _ask(self, node, name: str, policy: redundancy.Policy) -> None:
        if node is None:
            return
        self._unsettled()
        self.cluster.fewest = min(self.cluster.fewest,
                                  redundancy.whole_copies(*policy))
        node.host.world.spawn(self._answered(node, name, policy),
                              cluster_module.CLIENT + 'alter')

    async def _answered(self, node, name: str,
                        policy: redundancy.Policy) -> None:
        sheep = node.sheep
        number = self._asked[name] = self._asked.get(name, 0) + 1
        # (Of two at the same time the first one may be done last.)
        was_alone = not self._open.get(name)
        self._open[name] = self._open.get(name, 0) + 1
        self._sure.pop(name, None)
        outcome, created = 'done', 0
        try:
            if name:
                created = sheep.catalogue.find(name).created
                await sheep.catalogue.alter_copies(
                    name, policy.copies, True,
                    copy_policy=policy.copy_policy)
            else:
                created = sheep.cluster.state.created
                await sheep.cluster.execute(
                    'alter-default', {**policy._asdict(), 'force': True})
        except errors.SheepdogError as error:
            outcome = type(error).__name__
        if outcome in ANSWERS:
            self._open[name] -= 1
        if (outcome == 'done' and was_alone and not self._open[name]
                and number == self._asked[name]):
            # Nothing that was asked for can come after it.
            self._sure[name] = created, policy
        key = 'alter %s' % outcome
        self.outcomes[key] = self.outcomes.get(key, 0) + 1

    def judge(self, state) -> list:
        """What is wrong in the end, a line per VDI."""
        found = ['%s still waits for %d copies' % (entry.name, entry.wanted)
                 for entry in state.vdis.values() if entry.wanted]
        found += ['%s still has objects of former forms' % entry.name
                  for entry in state.vdis.values()
                  if entry.former and not entry.deleted]
        for name, (created, policy) in self._sure.items():
            if not name:
                if (state.created == created
                        and _policy(state.settings) != policy):
                    found.append('new VDIs get %s, not %s' % (
                        _policy(state.settings), policy))
                continue
            entry = state.lookup(name)
            if entry is not None and (
                    entry.created == created and _policy(entry) != policy):
                found.append('%s has %s, not %s' % (
                    name, _policy(entry), policy))
        return found


def _policy(kept) -> redundancy.Policy:
    return redundancy.Policy(kept.copies, kept.copy_policy)
