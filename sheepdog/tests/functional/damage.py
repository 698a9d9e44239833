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

"""Damages object files, as a disk does that lies."""

import os

from sheepdog.store import checksums
from sheepdog.store import objects as store_objects

BLOCK = checksums.BLOCK_BYTES
ATTRIBUTE = 'user.' + store_objects.ATTRIBUTE


def path(sheep, oid):
    return sheep.meta / 'obj' / store_objects.name_of(oid)


def holders(cluster, oid):
    """The sheep that have the object's file."""
    return [sheep for sheep in cluster.sheep if path(sheep, oid).exists()]


def flip(sheep, oid, block):
    """A bit in that block: its checksum is wrong then. May be done while
    the sheep runs: it sees the same page cache."""
    with open(path(sheep, oid), 'r+b', buffering=0) as file:
        value = os.pread(file.fileno(), 1, block * BLOCK)[0]
        os.pwrite(file.fileno(), bytes([value ^ 4]), block * BLOCK)


def rewrite(sheep, oid, block, data, version=None):
    """Another content with a right checksum, as if the file had gone back
    in time. The sheep must not run.

    :param version: the object's, from then on; None: as it was
    """
    with open(path(sheep, oid), 'r+b', buffering=0) as file:
        number = file.fileno()
        capacity = store_objects.capacity_of(os.fstat(number).st_size)
        table = checksums.table_of(os.pread(
            number, capacity // BLOCK * checksums.ENTRY_BYTES, capacity))
        was, birth, _ = store_objects.unpack_attribute(
            os.getxattr(number, ATTRIBUTE))
        table[block] = checksums.entry(data)
        os.pwrite(number, data, block * BLOCK)
        os.pwrite(number, table.cast('B'), capacity)
        os.setxattr(number, ATTRIBUTE, store_objects.pack_attribute(
            was if version is None else version, birth, table))


def quarantined(sheep, oid):
    """Paths of the files of that object that the sheep has set aside."""
    return sorted(path for path in (sheep.meta / 'quarantine').glob(
                      store_objects.name_of(oid) + '*')
                  if path.suffix != '.json')


def version(sheep, oid):
    return store_objects.unpack_attribute(
        os.getxattr(path(sheep, oid), ATTRIBUTE))[0]


def block(sheep, oid, number):
    with open(path(sheep, oid), 'rb') as file:
        file.seek(number * BLOCK)
        return file.read(BLOCK)
