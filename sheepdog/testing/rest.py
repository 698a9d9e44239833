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

"""A cluster at rest: nobody asks for anything, nothing goes wrong.

Then nothing may be left of what was: no request in a table, no task beside
those that always run, no lock of somebody who is gone, no object of a VDI
that was deleted or of one that belongs elsewhere.
"""

import re

from sheepdog.model import ids
from sheepdog.placement import ring as ring_module

REST_SECONDS = 90.0
"""What was given up is remembered for a while; then all is quiet."""

STANDING_TASKS = re.compile(
    r'^(watch|membership|declarations to replicas|leader \d+|desk|patrol|'
    r'store: regular checkpoints|store: watch the disks|watch .*|complaints|'
    r'scrub|turn VDIs into another form|reclaim what no VDI names|task .*)$')
LOOK_SECONDS = 0.93
"""Not in step with what is done once a second."""
LINKS_MAX = 2
"""To each other sheep."""
UNNAMED_MAX = 3
"""Tasks that asyncio makes to wait for something with a time limit."""


def wait(cluster) -> list:
    """What is left though all had time to end: a line per thing."""
    found = []

    def is_quiet():
        found[:] = left(cluster)
        return not found

    cluster.simulation.run_until(is_quiet, REST_SECONDS, LOOK_SECONDS)
    return found


def left(cluster) -> list:
    found = []
    for node in cluster.nodes.values():
        what = (_tables(node.sheep) + _tasks(node) + _locks(node.sheep) +
                _objects(node))
        found += ['%s at rest has %s' % (node.name, one) for one in what]
    return found


def _tables(sheep) -> list:
    gateway, volumes = sheep.gateway, sheep.volumes
    return ['%d %s' % (len(table), name) for name, table in (
        ('changes of its clients', gateway.changes.mine),
        ('reads', gateway.reads.under_way),
        ('objects with turns', gateway.turns.table),
        ('volumes open to write', volumes._writing),
        ('volumes open to read', volumes._reading),
        ('volumes being turned', volumes._turning),
        ('VDIs to be turned', sheep.turner.todo),
        ('native claims', volumes._claims),
        ('VDIs frozen', volumes.frozen),
        ('VDIs with requests that wait for their limits', [
            name for name, throttle in volumes.throttles.named()
            if throttle.waiting]),
        ('objects under recovery', sheep.recovery._running)) if table]


def _tasks(node) -> list:
    names = node.tasks()
    found = ['the task "%s"' % name for name in names
             if not STANDING_TASKS.match(name)]
    found += ['%d tasks "%s"' % (names.count(name), name)
              for name in sorted(set(names))
              if name.startswith('watch ') and names.count(name) > LINKS_MAX]
    unnamed = [name for name in names if name.startswith('task ')]
    if len(unnamed) > UNNAMED_MAX:
        found.append('%d tasks without a name' % len(unnamed))
    return found


def _locks(sheep) -> list:
    """All volumes are closed."""
    return ['VDI %06x locked by %s' % (vdi_id, ', '.join(lock.owners))
            for vdi_id, lock in sorted(sheep.cluster.state.locks.items())
            if lock.owners]


def _objects(node) -> list:
    state = node.sheep.cluster.state
    view = node.sheep.cluster.view
    ring = ring_module.Ring(view)
    # One that was evicted keeps what it has until it is back.
    is_away = node.sheep.store.node_id in state.evicted_nodes()
    found = []
    for oid in map(ids.object_of, node.sheep.store.oids()):
        entry = state.vdis.get(ids.vdi_of(oid))
        if entry is None:
            # The inode of a creation that was cut short; the next one of
            # that name takes its place.
            if ids.is_vdi(oid):
                continue
            found.append('object %s of no VDI' % ids.hex_oid(oid))
        elif state.is_gone(oid):
            found.append('object %s of a deleted VDI, or a former form'
                         % ids.hex_oid(oid))
        elif not is_away and not any(
                view.members[index].host == node.address for index
                in ring.targets(oid, node.sheep.order.copies(oid))):
            found.append('object %s that belongs elsewhere' %
                         ids.hex_oid(oid))
    return found
