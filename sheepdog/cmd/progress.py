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

"""How far a long transfer is, for those who watch a terminal."""

import time

from sheepdog.model import sizes

BEGIN_SECONDS = 2.0
EVERY_SECONDS = 0.5


class Progress:
    """Shows nothing before ``BEGIN_SECONDS``, or where nobody watches.

    :param total: bytes; 0 when it is not known
    :param unit: what is counted instead of bytes
    """

    def __init__(self, stream, total=0, clock=time.monotonic, unit=''):
        self._stream = stream if stream.isatty() else None
        self._total = total
        self._unit = unit
        self._clock = clock
        self._next = clock() + BEGIN_SECONDS
        self._is_shown = False

    def update(self, done, total=None):
        """``total`` where that has changed."""
        if total is not None:
            self._total = total
        if self._stream is None or self._clock() < self._next:
            return
        self._next = self._clock() + EVERY_SECONDS
        self._is_shown = True
        text = self._show(done)
        if self._total:
            text = '%3d %%  %s of %s' % (done * 100 // self._total, text,
                                         self._show(self._total))
        print('\r%-40s' % text, end='', file=self._stream, flush=True)

    def _show(self, number):
        if self._unit:
            return '%d %s' % (number, self._unit)
        return sizes.show_size(number)

    def end(self):
        if self._is_shown:
            print('\r%40s\r' % '', end='', file=self._stream, flush=True)
