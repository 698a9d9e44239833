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


"""A file that is thrown away where a start finds no room.

Somebody else may have taken the last byte of the file system. What a start
writes is little, but not nothing; reading and deleting need a start. So each
start lays aside some room, for the next one.
"""

import logging

from sheepdog.store import state as store_state

LOG = logging.getLogger(__name__)

BYTES = 1 << 20


def path_of(meta: str) -> str:
    return meta + '/ballast'


def throw(disk, meta: str) -> None:
    """If there is no room for what a start writes."""
    try:
        if disk.space(meta).free < BYTES and disk.exists(path_of(meta)):
            LOG.warning('%s is full: what was laid aside for a start is used',
                        meta)
            disk.unlink(path_of(meta))
    except OSError as error:
        # What comes behind fails, and says so.
        LOG.warning('%s: %s', path_of(meta), error)


async def lay(disk, meta: str) -> None:
    """At most half of what there is: others have to start, too. (Its name
    is to be made durable yet.)"""
    path = path_of(meta)
    try:
        file = disk.open(path, create=True)
        try:
            size = min(BYTES, file.allocated() + disk.space(meta).free // 2)
            if file.allocated() < size:
                file.allocate(size)
                await file.sync()
        finally:
            file.close()
    except OSError as error:
        if not store_state.is_full(error):
            raise
        LOG.info('%s: no room: %s', path, error)
