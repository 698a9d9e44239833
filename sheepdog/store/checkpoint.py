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

"""Making a full segment of the journal free again.

Every object that the segment names is brought up to date on disk: its
table and version saved, its file synced, all names synced. Only then the
segment is void. Runs beside the writes, a few objects at a time.
"""

import asyncio
import logging

from sheepdog.model import errors
from sheepdog.store import journal as store_journal
from sheepdog.store import keeping
from sheepdog.store import saving
from sheepdog.store import state as store_state
from sheepdog.store import writer as store_writer

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
OPEN_SECONDS = 0.1


class Checkpoint:
    def __init__(self, world, journal: store_journal.Journal,
                 writer: store_writer.Writer, saver: saving.Saver,
                 counters: store_state.Counters,
                 keeper: keeping.Keeper):
        self._world = world
        self._journal = journal
        self._writer = writer
        self._saver = saver
        self._counters = counters
        self._keeper = keeper
        self._task = None
        self._is_full = False
        self._is_last = False

    def start(self, segment: store_journal.Segment) -> None:
        """Free a segment in the background."""
        self._task = self._world.spawn(self._run(segment),
                                       'store: checkpoint')

    async def run_regularly(self, seconds: float) -> None:
        """Also where little is written, nothing stays in the journal for
        much longer than twice this."""
        generation = self._journal.generation
        while not self._is_last:
            await asyncio.sleep(seconds)
            if self._journal.generation == generation and not self._is_last:
                self._writer.change_segments()
            generation = self._journal.generation

    async def free_all(self) -> None:
        """Free the whole journal, where nothing is written any more.

        :raises OSError: some of it is still in force
        """
        self._is_last = True
        if self._task is not None and not self._task.done():
            if self._is_full:
                # It would try again for ever.
                self._task.cancel()
            await asyncio.wait([self._task])
        # The older one first: it must never be replayed without the newer.
        for segment in (self._journal.other, self._journal.current):
            if not segment.is_free:
                await self.free(segment)

    def give_up(self) -> None:
        """Nothing is freed any more."""
        self._is_last = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self, segment: store_journal.Segment) -> None:
        has_ended = False
        try:
            await self._free_in_the_end(segment)
            has_ended = True
        finally:
            if not has_ended and not self._is_last:
                # Nobody waits for a segment that never becomes free.
                self._writer.fail(errors.StorageError(
                    'a checkpoint was broken off'))

    async def _free_in_the_end(self, segment: store_journal.Segment) -> None:
        started = self._world.clock.monotonic()
        names = len(segment.named)
        while True:
            try:
                await self.free(segment)
                break
            except errors.SheepdogError as error:
                if self._writer.failed is not None or self._is_last:
                    return
                LOG.info('%s; again in %g s', error, OPEN_SECONDS)
                await asyncio.sleep(OPEN_SECONDS)
            except OSError as error:
                typed = store_state.typed(error, 'checkpoint')
                self._counters.errors += 1
                if not store_state.is_full(error):
                    self._writer.fail(typed)
                    return
                LOG.error('%s; again in %d s', typed, RETRY_SECONDS)
                self._writer.refuse_stalled(typed)
                self._is_full = True
                if self._is_last:
                    return
                await asyncio.sleep(RETRY_SECONDS)
        self._is_full = False
        LOG.info('checkpoint of %d objects took %.1f s', names,
                 self._world.clock.monotonic() - started)
        self._counters.checkpoints += 1
        self._writer.resume()

    async def free(self, segment: store_journal.Segment) -> None:
        """:raises OSError, SheepdogError: the segment is still in force"""
        if segment.pending:
            segment.on_idle = asyncio.get_running_loop().create_future()
            await segment.on_idle
        if not self._is_last:
            await self._keeper.outlive(segment.named)
        await self._saver.save(list(segment.named))
        await self._saver.save_names()
        await self._journal.free(segment)
