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

"""Calls to be awaited: of the store, that take a ``done``; several at once.
"""

import asyncio

from sheepdog.model import errors
from sheepdog.model import ids
from sheepdog.wire import peer as wire
from sheepdog.wire import strips as strips_wire

CALL_SECONDS = 10.0
"""How long another sheep may take to answer."""


def check_view(cluster, replica, view):
    """Nothing found out in another view may be acted on (a cold start has a
    new view of the same epoch).

    :raises StaleEpoch:
    """
    if view is None or cluster.view is not view:
        raise errors.StaleEpoch('the view has changed')
    error = replica.check_epoch(view.epoch)
    if error is not None:
        raise error


async def wait_for(function, *arguments):
    """A change; that there is no such object is no error."""
    future = asyncio.get_running_loop().create_future()

    def done(error):
        if future.done():
            return
        if error is not None and not isinstance(error, errors.NoObject):
            future.set_exception(error)
        else:
            future.set_result(None)

    function(*arguments, done)
    await future


async def read(store, oid, offset, size):
    """:raises SheepdogError:"""
    future = asyncio.get_running_loop().create_future()

    def done(error, data):
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(bytes(data))

    store.read(oid, offset, size, done)
    return await future


async def read_strip(store, links, view, member, oid, index, offset, size):
    """Settled or not; from ``store`` where ``member`` is None.

    :raises SheepdogError:
    """
    if member is None:
        return await read(store, ids.strip_key(oid, index), offset, size)
    _, _, data = await links.data(member).call(
        wire.STRIP_READ, epoch=view.epoch, oid=oid, offset=offset, aux=size,
        flags=strips_wire.flags_of(index, wire.FLAG_RECOVERY),
        timeout=CALL_SECONDS)
    if len(data) != size:
        raise errors.CorruptFrame('%d bytes instead of %d'
                                  % (len(data), size))
    return bytes(data)


async def every(coroutines):
    """All of them end before the first error is raised."""
    answers = await asyncio.gather(*coroutines, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
