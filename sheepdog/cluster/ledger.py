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

"""What a sheep remembers of its cluster, durably.

Below META:

    config          the cluster's settings, JSON, for people to read
    epoch/state     snapshot: promised term, prepared epoch, clean mark,
                    replicated state; names the log that continues it
    epoch/log.N     what came after the snapshot
    epoch/NNNNNNNN  the view of each epoch, JSON

The state and the log move together: what ``append`` has written is applied,
what is applied was written. Only one call that writes may run at a time;
the follower sees to that.
"""

import collections
import json
import logging
from typing import Callable, Optional

from crc32c import crc32c

from sheepdog.cluster import entries
from sheepdog.cluster import log as log_module
from sheepdog.cluster import messages
from sheepdog.cluster import state as state_module
from sheepdog.model import errors
from sheepdog.model import shapes
from sheepdog.model import view as view_model
from sheepdog.world import api as world_api

LOG = logging.getLogger(__name__)

FORMAT = 1
TAIL_RECORDS = 1024
"""Newest records kept in memory for members that are behind, by one batch
at most."""

SNAPSHOT_LOG_BYTES = 1 << 20
"""A log longer than this, and than twice its snapshot, is begun anew."""

VIEWS_MAX = 1000
VIEW_MEMBERS_MAX = 50000
"""Old views are kept up to so many, and so many members in all of them."""


_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError,
              RecursionError, AssertionError, errors.SheepdogError)
"""What comes of a file whose checksum is right and whose content is not: a
sheep with a bug wrote it, or no sheep did."""


class LedgerRefused(Exception):
    """What is on disk cannot be used; the message says what to do."""

    exit_code = 2


class Ledger:
    """``promise``: (term, incarnation of its leader), none lower is obeyed.
    ``prepared``: the last epoch prepared. ``clean``: the position of an
    orderly shutdown, or None. ``views``: oldest first, the current last.
    ``tail``: the newest records."""

    def __init__(self, world: world_api.World, meta: str):
        self._world = world
        self._disk = world.disk
        self._meta = meta
        self._directory = meta + '/epoch'
        self._log: Optional[log_module.RecordLog] = None
        self._number = 0
        self._snapshot_bytes = 0
        self._unsaved: list = []
        self._saver = None
        self._config = None
        self.promise = (0, '')
        self.prepared: Optional[messages.Prepared] = None
        self.clean: Optional[tuple] = None
        self.state = state_module.State()
        self.views: list = []
        self.tail = collections.deque(maxlen=TAIL_RECORDS)

    @classmethod
    async def open(cls, world: world_api.World, meta: str) -> 'Ledger':
        """
        :raises LedgerRefused: damaged, or of a later version
        :raises OSError: META cannot be read or written
        """
        self = cls(world, meta)
        self._disk.make_directory(self._directory)
        await self._disk.sync_directory(meta)
        await self._read_snapshot()
        await self._read_views()
        path = self._log_path()
        is_new = not self._disk.exists(path)
        try:
            self._log, logged = log_module.RecordLog.open(
                self._disk, path, self._number)
        except ValueError as error:
            raise self._damaged(path, error) from None
        if is_new:
            await self._disk.sync_directory(self._directory)
        try:
            for entry in logged:
                self._replay(entry)
        except _MALFORMED as error:
            raise self._damaged(path, error) from None
        for name in self._disk.list(self._directory):
            if (name.startswith('log.') and
                    name != 'log.%d' % self._number):
                self._disk.unlink(self._directory + '/' + name)
        self._save_later()
        return self

    @property
    def is_broken(self) -> bool:
        """The disk has failed: nothing can be promised any more."""
        return self._log.is_broken

    # Writing. Each is durable when it returns.

    async def promise_term(self, term: int, leader: str) -> None:
        await self._log.append([{'promise': [term, leader]}])
        self.promise = (term, leader)

    async def prepare(self, prepared: messages.Prepared) -> None:
        await self._log.append([{'prepared': prepared.to_dict()}])
        self.prepared = prepared

    async def append(self, records: list,
                     applied: Callable[[entries.Record], None]) -> None:
        """Write the records, then apply each and call ``applied``.

        :raises SheepdogError: one cannot be applied; none is written
        """
        trial = self.state.copy()
        for record in records:
            # Once on disk it would stop each start from now on.
            trial.apply(record)
        await self._log.append(
            [{'record': fields} for fields in messages.pack_records(records)])
        for record in records:
            self._apply(record)
            applied(record)
        self._save_later()
        if self._log.size > max(SNAPSHOT_LOG_BYTES,
                                2 * self._snapshot_bytes):
            try:
                await self._write_snapshot()
            except (OSError, errors.SheepdogError) as error:
                LOG.warning('the cluster log grows on: %s', error)

    async def install(self, state: state_module.State,
                      views: list) -> None:
        """Start over from another member's state."""
        before = (self.state, self.views, self.prepared, self.clean,
                  self._unsaved)
        self.state, self.prepared, self.clean = state, None, None
        known = {(view.epoch, view.term): view for view in self.views}
        self.views = list(views)
        self._unsaved = [view for view in views if
                         known.get((view.epoch, view.term)) != view]
        try:
            await self._write_snapshot()
        except OSError as error:
            (self.state, self.views, self.prepared, self.clean,
             self._unsaved) = before
            raise errors.StorageError(
                'cannot store the cluster state: %s' % error) from error
        self.tail.clear()
        self._save_later()

    async def mark_clean(self) -> None:
        position = self.state.position
        await self._log.append([{'clean': list(position)}])
        self.clean = position

    async def close(self) -> None:
        if self._saver is not None:
            await self._saver
        if self._log is not None:
            self._log.close()

    # Reading.

    async def _read_snapshot(self) -> None:
        path = self._directory + '/state'
        try:
            data = await self._disk.read_file(path)
        except FileNotFoundError:
            return
        self._snapshot_bytes = len(data)
        crc, _, payload = data.partition(b'\n')
        if crc != b'%08x' % crc32c(payload):
            raise self._damaged(path)
        try:
            self._take_snapshot(json.loads(payload), path)
        except _MALFORMED as error:
            raise self._damaged(path, error) from None

    def _take_snapshot(self, fields: dict, path: str) -> None:
        if fields['format'] > FORMAT:
            raise LedgerRefused(
                '%s was written by a later version of sheep' % path)
        shapes.check(fields, {'log': int}, 'snapshot')
        self._number = fields['log']
        if not 0 <= self._number < 1 << 63:
            raise ValueError('log %d' % self._number)
        self.promise = messages.promise(fields['promise'])
        if fields['prepared']:
            self.prepared = messages.Prepared.from_dict(fields['prepared'])
        if fields['clean']:
            self.clean = messages.position(fields['clean'])
        self.state = state_module.State.from_dict(fields['state'])

    def _damaged(self, path: str, error='') -> LedgerRefused:
        return LedgerRefused(
            '%s is damaged%s: move %s away to let this sheep join as a new '
            'one' % (path, ' (%.200s)' % error if error else '', self._meta))

    async def _read_views(self) -> None:
        for name in self._disk.list(self._directory):
            if len(name) != 8 or not name.isdigit():
                continue
            path = self._directory + '/' + name
            try:
                fields = json.loads(await self._disk.read_file(path))
                view = view_model.View.from_dict(fields['view'])
                created = fields['created']
            except _MALFORMED:
                LOG.warning('%s is damaged; it is left out', path)
                continue
            if (created == self.state.created and
                    view.epoch < self.state.epoch):
                self.views.append(view)
        if self.state.view is not None:
            self.views.append(self.state.view)

    def _replay(self, entry: dict) -> None:
        if 'record' in entry:
            self._apply(messages.unpack_record(entry['record']))
        elif 'prepared' in entry:
            self.prepared = messages.Prepared.from_dict(entry['prepared'])
        elif 'promise' in entry:
            self.promise = messages.promise(entry['promise'])
        elif 'clean' in entry:
            self.clean = messages.position(entry['clean'])

    def _apply(self, record: entries.Record) -> None:
        created = self.state.created
        view = self.state.view
        self.state.apply(record)
        self.tail.append(record)
        # A clean mark is of one position only; the state has gone on.
        self.clean = None
        if self.state.created != created:
            self.views = []
        if self.state.view is not view:
            self._remember(self.state.view)

    # Views and configuration, written aside: they can be made again from
    # the log, until a snapshot takes its place.

    def _remember(self, view: view_model.View) -> None:
        if self.views and self.views[-1].epoch >= view.epoch:
            self.views.pop()
        self.views.append(view)
        self._unsaved.append(view)

    def _save_later(self) -> None:
        if self._saver is None and (
                self._unsaved or self._config != self.state.settings):
            self._saver = self._world.spawn(self._save_aside(), 'views')

    async def _save_aside(self) -> None:
        try:
            await self._save_views()
        except OSError as error:
            LOG.warning('cannot store old views: %s', error)
        finally:
            self._saver = None

    async def _save_views(self) -> None:
        while self._unsaved:
            view = self._unsaved[0]
            await self._disk.replace_file(
                self._view_path(view.epoch), log_module.encode(
                    {'created': self.state.created,
                     'view': view.to_dict()}))
            if self._unsaved and self._unsaved[0] is view:
                self._unsaved.pop(0)
        settings = self.state.settings
        if settings is not None and self._config != settings:
            await self._disk.replace_file(
                self._meta + '/config',
                json.dumps(settings.to_dict(), indent=2).encode() + b'\n')
            self._config = settings
        self._prune_views()

    def _prune_views(self) -> None:
        members = sum(len(view.members) for view in self.views)
        while len(self.views) > 2 and (len(self.views) > VIEWS_MAX or
                                       members > VIEW_MEMBERS_MAX):
            members -= len(self.views.pop(0).members)
        kept = {'%08d' % view.epoch for view in self.views}
        for name in self._disk.list(self._directory):
            if len(name) == 8 and name.isdigit() and name not in kept:
                self._disk.unlink(self._directory + '/' + name)

    async def _write_snapshot(self) -> None:
        if self._saver is not None:
            await self._saver
        await self._save_views()
        number = self._number + 1
        fields = {'format': FORMAT, 'log': number,
                  'promise': list(self.promise),
                  'prepared': self.prepared and self.prepared.to_dict(),
                  'clean': self.clean and list(self.clean),
                  'state': self.state.to_dict()}
        payload = await self._disk.run(log_module.encode, fields)
        log = log_module.RecordLog.create(
            self._disk, self._log_path(number), number)
        try:
            await self._disk.sync_directory(self._directory)
            await self._disk.replace_file(
                self._directory + '/state',
                b'%08x\n' % crc32c(payload) + payload)
        except OSError as error:
            log.close()
            if not log_module.is_full(error):
                # Perhaps the new snapshot counts, perhaps the old one: no
                # record may be added to either.
                self._log.is_broken = True
            raise
        old, self._log = self._log, log
        old_path, self._number = self._log_path(), number
        self._snapshot_bytes = len(payload)
        old.close()
        self._disk.unlink(old_path)

    def _log_path(self, number: Optional[int] = None) -> str:
        return '%s/log.%d' % (self._directory,
                              self._number if number is None else number)

    def _view_path(self, epoch: int) -> str:
        return '%s/%08d' % (self._directory, epoch)
