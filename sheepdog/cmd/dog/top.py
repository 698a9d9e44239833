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

"""dog top: what the cluster does just now, on a terminal until ^C."""

import shutil
import time

from sheepdog.cmd import activity
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.model import errors

DELAY_MAX = 3600
_BEGIN = '\x1b[?1049h\x1b[?25l'
_END = '\x1b[?25h\x1b[?1049l'
"""Another screen, without a cursor; and back to what was there before."""
_FRAME = '\x1b[H%s\x1b[J'
_LINE_END = '\x1b[K\r\n'


def top(session):
    delay = command.whole_number('-d', session.values.get('delay', '1'), 1,
                                 DELAY_MAX)
    is_live = (session.streams.stdout.isatty() and not session.is_json
               and not session.is_raw)
    measure = _Measure(session.client)
    if is_live:
        return _live(session, measure, delay)
    time.sleep(delay)
    epoch, rows = measure.look()
    session.show({'epoch': epoch, 'nodes': rows[:-1], 'all': rows[-1]},
                 tables.activity(rows, session.is_raw))
    silent = [row for row in rows if row['error']]
    for row in silent:
        session.warn('%s: %s' % (row['node'], row['error']))
    return exits.SYSTEM if silent else exits.OK


class _Measure:
    """Between one look and the next."""

    def __init__(self, client, clock=time.monotonic):
        self._client = client
        self._clock = clock
        self._before, self._when = client.cluster.activity(), clock()

    def look(self) -> tuple:
        """(epoch, rows), see ``cmd.activity``."""
        after, now = self._client.cluster.activity(), self._clock()
        rows = activity.between(self._before, after,
                                max(now - self._when, 0.001))
        self._before, self._when = after, now
        return after['epoch'], rows


def _live(session, measure, delay):
    output = session.streams.stdout
    lines = ['…']
    try:
        output.write(_BEGIN)
        while True:
            # (Asked for each time: who watches may make the window larger.)
            size = shutil.get_terminal_size()
            output.write(frame(lines, size.columns, size.lines))
            output.flush()
            time.sleep(delay)
            lines = _lines(measure)
    except KeyboardInterrupt:
        return exits.OK  # There is no other way to end it.
    finally:
        output.write(_END)
        output.flush()


def _lines(measure) -> list:
    now = time.strftime('%Y-%m-%d %H:%M:%S')
    try:
        epoch, rows = measure.look()
    except errors.SheepdogError as exc:
        # It may be back at the next look.
        return ['%s: %s' % (now, exc)]
    return ['%s  epoch %d' % (now, epoch), '',
            *tables.activity(rows, False)]


def frame(lines, columns, rows) -> str:
    """What to write so that a terminal shows as many of them as fit."""
    lines = [line.expandtabs()[:columns] for line in lines]
    if len(lines) > rows > 1:
        lines[rows - 1:] = [('… %d more' % (len(lines) - rows + 1))[:columns]]
    return _FRAME % ''.join(
        line + (_LINE_END if number < len(lines) else '\x1b[K')
        for number, line in enumerate(lines, 1))


COMMANDS = (
    command.Command(
        ('top',), top, 'show what the nodes do, on a terminal until ^C',
        options=(Option('d', 'delay', 'between two looks (default: 1)',
                        'SECONDS'),)),
)
