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

"""The end of a turn of the loop: where what was gathered goes out at once.

One ``writev`` for all answers to a client, one ``pwritev`` for all records
of a journal: the loop calls back once, after everything that came in with
one poll was handled. Batched functions go first, since they still produce
output; connections are flushed behind them.
"""

import asyncio
from typing import Callable


class Turn:
    """Belongs to one loop; everything is called in it."""

    __slots__ = ('_loop', '_functions', '_ran', '_outputs', '_is_scheduled')

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._functions = {}
        self._ran = None
        self._outputs = []
        self._is_scheduled = False

    def call_batched(self, function: Callable[[], None]) -> None:
        # A dict keeps the order of asking, and bound methods of one object
        # are equal to each other.
        if self._ran is not None and function in self._ran:
            self._loop.call_soon(self.call_batched, function)
            return
        self._functions[function] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def flush_later(self, flush: Callable[[], None]) -> None:
        """Call after all batched functions; not deduplicated."""
        self._outputs.append(flush)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        functions = self._functions
        if functions:
            self._ran = {}
            while functions:
                function = next(iter(functions))
                del functions[function]
                # Asked for again while we are here: that is the next turn.
                self._ran[function] = None
                self._call(function)
            self._ran = None
        outputs = self._outputs
        self._outputs = []
        self._is_scheduled = False
        for flush in outputs:
            self._call(flush)

    def _call(self, function) -> None:
        try:
            function()
        except Exception as error:
            self._loop.call_exception_handler({
                'message': 'at the end of a turn: %r failed' % function,
                'exception': error})
