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

"""The inode of a VDI, as the tools look at it."""

import array
import sys

from sheepdog.model import inode


def head(client, name, which) -> inode.InodeHead:
    """
    :param which: ``tag`` and ``snap_id``
    :raises NoVdi, NoTag:
    """
    return inode.InodeHead.unpack(b''.join(client.vdis.inode(
        name, size=inode.HEAD_BYTES, **which)))


def owners(client, name, which, count) -> array.array:
    """The first ``count`` entries of the object map: of each index the id of
    the VDI whose object it is, 0 where there is none.

    :raises NoVdi, NoTag:
    """
    entries = array.array('I', b''.join(client.vdis.inode(
        name, offset=inode.MAP_OFFSET, size=count * inode.MAP_ENTRY_BYTES,
        **which)))
    if sys.byteorder == 'big':
        entries.byteswap()
    return entries
