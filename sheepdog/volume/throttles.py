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

"""Which VDIs have limits, and what holds their requests back on this sheep.

A VDI that several sheep have open, shared, has its limits once: each of them
takes an equal part. Who reads without a lock counts on each sheep by itself.
"""

from sheepdog.cluster import entries
from sheepdog.cluster import family
from sheepdog.volume import throttle as throttle_module


class Throttles:
    """``by_id``: VDI id → its ``Throttle``, of working VDIs with limits;
    empty where there are none. ``on_change`` is called when one has come or
    gone."""

    def __init__(self, world, cluster, on_change):
        self.world = world
        self.cluster = cluster
        self.by_id = {}
        self._on_change = on_change
        self._by_name = {}
        self._ids = {}

    def named(self):
        """(name, throttle) of all."""
        return sorted(self._by_name.items())

    def on_event(self, event):
        """:param event: as ``ClusterListener.on_event``"""
        state = self.cluster.state
        if not state.qos and not self._by_name:
            return
        if event['kind'] == 'format':
            self.refresh()
            return
        names = {event.get('name')}
        for one in (event, *family.commits(event)):
            for field in 'vdi_id', 'source':
                entry = state.vdis.get(one.get(field))
                if entry is not None:
                    names.add(entry.name)
        for name in names:
            if name in state.qos or name in self._by_name:
                self._refresh(name)

    def refresh(self):
        for name in {*self.cluster.state.qos, *self._by_name}:
            self._refresh(name)

    def _refresh(self, name):
        state = self.cluster.state
        limits, entry = state.qos.get(name), state.lookup(name)
        throttle = self._by_name.get(name)
        before = self._ids.pop(name, None)
        self.by_id.pop(before, None)
        if not limits or entry is None:
            if throttle is not None:
                del self._by_name[name]
                self._on_change()
                throttle.set({})
            return
        if throttle is None:
            throttle = throttle_module.Throttle(self.world)
            self._by_name[name] = throttle
        self._ids[name] = entry.vdi_id
        self.by_id[entry.vdi_id] = throttle
        throttle.set(limits, 1 / self._gateways(entry.vdi_id))
        if before != entry.vdi_id:
            self._on_change()

    def _gateways(self, vdi_id):
        lock = self.cluster.state.locks.get(vdi_id)
        if lock is None or lock.mode != entries.SHARED:
            return 1
        return max(1, len(lock.owners))
