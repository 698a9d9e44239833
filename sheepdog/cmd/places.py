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

"""Where a VDI's objects belong: what a sheep tells of them, worked out."""

from typing import NamedTuple

from sheepdog.client import maps
from sheepdog.cmd import words
from sheepdog.model import ids
from sheepdog.model import view as view_model
from sheepdog.placement import ring

STATES = {'has': 'has the object', 'lacks': "doesn't have the object"}


class Copy(NamedTuple):
    """Of an object, or a strip (by its number) of it; -1: a whole copy.
    ``place``: among those that are to have one; -1: it is not."""

    address: str
    state: str
    strips: tuple
    place: int
    error: str = ''


def copies(found) -> list:
    """What each node has of an object (``VdiCalls.object``), and should."""
    expected = [words.host_port(one) for one in found['expected']]
    listed = []
    for node in found['nodes']:
        address = words.host_port(node)
        parts = tuple(node.get('parts', ()))
        error = node.get('error', '')
        listed.append(Copy(
            address, 'unknown' if error else 'has' if parts else 'lacks',
            parts, expected.index(address) if address in expected else -1,
            error))
    return listed


def track(found, epochs) -> list:
    """(epoch, how many it was to have, addresses) of one object in each
    epoch of ``ClusterCalls.info``, the oldest first."""
    oid = int(found['object'], 16)
    wanted = dict(found['history'])
    tracked = []
    for epoch in sorted(epochs, key=lambda one: one['epoch']):
        count = wanted.get(epoch['epoch'])
        if count is None:
            continue  # It came meanwhile.
        members = tuple(view_model.Member(
            node='', incarnation='', host=member['host'],
            port=member['port'], zone=member['zone'],
            vnodes=member['vnodes']) for member in epoch['members'])
        targets = ring.Ring(view_model.View(
            epoch['epoch'], 0, 0.0, members)).targets(oid, count)
        tracked.append((epoch['epoch'], count, [
            words.host_port(epoch['members'][target])
            for target in targets]))
    return tracked


def object_map(client, name, which) -> list:
    """(index, VDI id) of the objects that a VDI has."""
    found = maps.head(client, name, which)
    total = -(-found.vdi_size // found.object_bytes)
    return [(index, owner & ids.VDI_ID_MASK) for index, owner in enumerate(
        maps.owners(client, name, which, total)) if owner]
