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

CALL_SECONDS = 10.0
"""How long another sheep may take to answer."""


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


async def every(coroutines):
    """All of them end before the first error is raised."""
    answers = await asyncio.gather(*coroutines, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers
