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

"""A byte range of a volume as pieces of its objects; and waiting for all of
several things."""

import asyncio


def split(offset, length, object_bytes):
    """``[(index, offset in the object, offset in the range, size), …]``."""
    pieces = []
    position = 0
    while position < length:
        index, start = divmod(offset + position, object_bytes)
        size = min(object_bytes - start, length - position)
        pieces.append((index, start, position, size))
        position += size
    return pieces


async def gather(coroutines):
    """Await all of them, each to its end, then raise the first error."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class Several:
    """A callback for ``count`` answers; ``done(error)`` after the last."""

    __slots__ = ('left', 'error', 'done')

    def __init__(self, count, done):
        self.left = count
        self.error = None
        self.done = done

    def __call__(self, error):
        if error is not None:
            self.error = error
        self.left -= 1
        if not self.left:
            self.done(self.error)


class SeveralReads:
    """As ``Several``, for reads: ``done(error, [data, …])`` in order."""

    __slots__ = ('left', 'error', 'done', 'data')

    def __init__(self, count, done):
        self.left = count
        self.error = None
        self.done = done
        self.data = [b''] * count

    def at(self, place):
        """The callback for the read of that place."""
        def answered(error, data):
            if error is not None:
                self.error = error
            else:
                self.data[place] = data
            self.left -= 1
            if not self.left:
                if self.error is not None:
                    self.done(self.error, None)
                else:
                    self.done(None, self.data)
        return answered
