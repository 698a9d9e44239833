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

"""A disk that lies: a block of one copy is another one, with a checksum that
fits. No read can tell; the scrub must, by comparing copies."""

import random

from sheepdog.model import ids
from sheepdog.recovery import calls

NOTICE_SECONDS = 240.0
BLOCK = 4096


def check(cluster, seed: str) -> list:
    """Put a lie into one copy, and say so if the scrub does not notice.
    Nobody may read any more; all copies are equal before."""
    source = random.Random(seed)
    oid, nodes = _choose(cluster, source)
    if oid is None:
        return []
    node = nodes[source.randrange(len(nodes))]
    cluster.simulation.trace.note(node.name, 'lies', ids.hex_oid(oid))
    node.run(_write(node.sheep.store, oid, source.randbytes(BLOCK)))
    kept = _kept(cluster)

    def is_noticed():
        # Where something tells which copy to follow (one lost power, say),
        # the other one is put into quarantine and made anew.
        return _kept(cluster) > kept or any(
            oid in one.sheep.scrub.differing
            for one in cluster.nodes.values())

    if cluster.simulation.run_until(is_noticed, NOTICE_SECONDS, 0.5):
        return []
    return ['the copies of object %s differ, and nobody has noticed'
            % ids.hex_oid(oid)]


def _kept(cluster) -> int:
    return sum(node.sheep.store.quarantine.kept
               for node in cluster.nodes.values())


def _choose(cluster, source):
    """An object of a VDI with two copies or more, and who has one."""
    vdis = cluster.vdis()
    holders = {}
    for node in cluster.nodes.values():
        sheep = node.sheep
        if sheep.store.node_id in sheep.cluster.state.evicted_nodes():
            # What it keeps is none of the copies that count.
            continue
        for oid in sheep.store.oids():
            if ids.vdi_of(oid) in vdis and ids.is_data(oid):
                holders.setdefault(oid, []).append(node)
    oids = sorted(oid for oid, nodes in holders.items() if len(nodes) > 1)
    if not oids:
        return None, []
    oid = oids[source.randrange(len(oids))]
    return oid, holders[oid]


async def _write(store, oid, data):
    """Past everybody who orders writes; its version stays as it is."""
    await calls.wait_for(store.write, oid, 0, 0, data)
