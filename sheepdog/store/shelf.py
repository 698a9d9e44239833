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

"""One disk among several, and what is under way on it."""

from typing import Optional

from sheepdog.model import errors
from sheepdog.store import diskset


class Shelf:
    """``store``: its ``store.Store``. ``is_gone``: it was given up, and
    nothing that comes from it counts any more."""

    __slots__ = ('entry', 'store', 'is_gone')

    def __init__(self, entry: diskset.Entry, store):
        self.entry = entry
        self.store = store
        self.is_gone = False

    @property
    def is_failing(self) -> bool:
        return self.store.device_error is not None

    def has_gone(self) -> errors.NotRecovered:
        """What those are told who wait for something from it."""
        return errors.NotRecovered('the disk %s was given up'
                                   % self.entry.path)


class Changed:
    """The ``done(error)`` of a change, behind the disk it goes to: what a
    disk took that is gone was not taken."""

    __slots__ = ('shelf', 'done')

    def __init__(self, shelf: Shelf, done):
        self.shelf = shelf
        self.done = done

    def __call__(self, error: Optional[Exception]) -> None:
        self.done(self.shelf.has_gone() if self.shelf.is_gone else error)


class Fetched(Changed):
    """The ``done(error, data)`` of a read."""

    __slots__ = ()

    def __call__(self, error, data=None) -> None:
        if self.shelf.is_gone:
            self.done(self.shelf.has_gone(), None)
        else:
            self.done(error, data)


class Synced:
    """``done(error)`` when all of ``count`` disks are synced. One that is
    gone has nothing left that could be durable."""

    __slots__ = ('left', 'done', 'error')

    def __init__(self, count: int, done):
        self.left = count
        self.done = done
        self.error: Optional[Exception] = None

    def of(self, shelf: Shelf):
        return lambda error: self.one(None if shelf.is_gone else error)

    def one(self, error: Optional[Exception]) -> None:
        self.error = self.error or error
        self.left -= 1
        if not self.left:
            self.done(self.error)
