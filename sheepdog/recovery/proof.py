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

"""May a copy go that belongs elsewhere? Only if those to whom it belongs are
proved to have all of it, whole and on disk."""

import asyncio

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.peer import answers as answers_module
from sheepdog.wire import peer as wire

CALL_SECONDS = 10.0
FLUSH_SECONDS = 30.0

DROP, ASIDE, KEEP = 'drop', 'aside', 'keep'


def verdict(version, states):
    """Pure. ``version`` of our copy; ``states`` of all its targets, as STATE
    tells them.

    DROP: all have it. KEEP: not yet, or not for sure. ASIDE: each of them is
    whole and yet none, or not all, have what we have: nobody needs our copy,
    and nobody can say why it is there.
    """
    if not states or not all(state['clean'] and not state['bad']
                             for state in states):
        return KEEP
    if all(state['exists'] and state['version'] >= version
           for state in states):
        return DROP
    return ASIDE


class Proof:
    def __init__(self, cluster, order, links, store):
        self.cluster = cluster
        self.order = order
        self.links = links
        self.store = store

    async def judge(self, view, key):
        """See ``verdict``; of an object, or a strip."""
        version = self.store.version(key)
        if version is None or self.cluster.view is not view:
            return KEEP
        oid = ids.object_of(key)
        if self.order.code(oid) is not None:
            # Who has settled it has all that counts, whatever was rolled
            # back for that.
            version = 0
        members = [view.members[i] for i in self.order.targets(oid)]
        try:
            answers = await asyncio.gather(
                *(self.links.data(m).call(wire.STATE, epoch=view.epoch,
                                          oid=oid, timeout=CALL_SECONDS)
                  for m in members))
            states = [answers_module.unpack_state(answer[2])
                      for answer in answers]
        except errors.SheepdogError:
            return KEEP
        return verdict(version, states)

    async def bring_to_disk(self, view, keys):
        """True when all that the targets of these objects have accepted is
        on their disks."""
        if self.cluster.view is not view:
            return False
        indexes = {index for key in keys
                   for index in self.order.targets(ids.object_of(key))}
        try:
            await asyncio.gather(
                *(self.links.data(view.members[index]).call(
                    wire.FLUSH, epoch=view.epoch, timeout=FLUSH_SECONDS)
                  for index in sorted(indexes)))
        except errors.SheepdogError:
            return False
        return self.cluster.view is view
