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

"""Targets: the inode of a VDI, that its clients may write as they please."""

import asyncio

from fuzz import registry
from sheepdog.cluster import entries
from sheepdog.cluster import state
from sheepdog.model import errors
from sheepdog.model import inode
from sheepdog.volume import catalogue
from sheepdog.volume import volume

VDI_ID = 0xABCDEF


class _Gateway:
    """Reads from one inode; what lies behind it is zero."""

    world = None

    def __init__(self, data):
        self._data = data

    async def read_wait(self, oid, offset, size):
        assert size <= inode.CLIENT_BYTES, 'more than an inode has'
        if offset + size > 1 << 24:
            raise errors.InvalidParameters('beyond the object')
        return self._data[offset:offset + size].ljust(size, b'\0')


def inode_seeds():
    head = inode.InodeHead('alpha', vdi_size=64 << 20, vdi_id=VDI_ID)
    data = head.pack().ljust(inode.MAP_OFFSET, b'\0')
    yield data + VDI_ID.to_bytes(4, 'little') * 5
    yield data + (7).to_bytes(4, 'little') + bytes(8)


@registry.target('vdi-inode', (errors.SheepdogError,),
                 ('sheepdog.volume.catalogue', 'sheepdog.volume.object_map',
                  'sheepdog.volume.volume', 'sheepdog.volume.description'),
                 inode_seeds, cases=800)
def run_inode(data):
    asyncio.run(_open(data))


async def _open(data):
    gateway = _Gateway(data)
    entry = entries.VdiEntry(VDI_ID, 'alpha')
    cluster = _Cluster(entry)
    known = catalogue.Catalogue(None, cluster, gateway)
    head = await known.head(VDI_ID)
    one = volume.Volume(gateway, entry, head, False, True, None)
    await one.load()
    assert one.size <= len(one.map.owners) * one.object_bytes <= 1 << 48
    answers = []
    for offset in (0, one.size // 2, max(0, one.size - 4096)):
        one.submit_read(offset, 0, lambda error, data: answers.append(error))
    assert len(answers) == 3
    await known._describe(entry)


class _Cluster:
    """What the catalogue asks of ``cluster.Cluster``."""

    def __init__(self, entry):
        self.state = state.State()
        self.state._put_vdi(entry)
