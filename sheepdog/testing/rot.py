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

"""Bits that flip on a simulated disk: one page at a time, on one host.

What rots next waits until what rotted before is gone: mended, overwritten,
removed. So there always is a good copy.
"""

from sheepdog.model import ids
from sheepdog.testing import image as image_module

OBJECTS = '/obj/'
TAIL_PAGES = 4
"""The end of a journal is left alone: no record behind it could tell that
the last one ever was whole."""


class Rot:
    """Rotten pages of all hosts of a cluster."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._place = None
        self.flips = 0

    @property
    def is_there(self) -> bool:
        return self._place is not None

    def look(self) -> None:
        """Has what rotted gone?"""
        if self._place is None:
            return
        inode, number, page = self._place
        if not inode.is_linked or inode.pages.get(number) != page:
            self._place = None

    def flip_object(self, source) -> None:
        vdis = self._cluster.vdis()
        self._flip(source, [
            (path, inode, number)
            for path, inode in self._files(source)
            if OBJECTS in path and _is_of(path, vdis)
            for number in sorted(inode.pages)])

    def flip_journal(self, source) -> None:
        found = []
        for path, inode in self._files(source):
            if OBJECTS in path or not path[-2:] in ('.0', '.1'):
                continue
            used = [number for number in sorted(inode.pages)
                    if inode.pages[number] != image_module.ZEROES]
            found += [(path, inode, number)
                      for number in used[1:-TAIL_PAGES]]
        self._flip(source, found)

    def _files(self, source) -> list:
        nodes = list(self._cluster.nodes.values())
        return nodes[source.randrange(len(nodes))].host.image.files()

    def _flip(self, source, found: list) -> None:
        if self._place is not None or not found:
            return
        path, inode, number = found[source.randrange(len(found))]
        inode.rot(number, source.randrange(8 * image_module.PAGE))
        self._place = inode, number, inode.pages[number]
        self.flips += 1
        self._cluster.simulation.trace.note(
            inode.image.host, 'rots', path, number)


def _is_of(path: str, vdis) -> bool:
    try:
        return ids.vdi_of(int(path.rpartition('/')[2], 16)) in vdis
    except ValueError:
        return False
