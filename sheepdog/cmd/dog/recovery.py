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

"""dog node recovery: how far it is, and how hard it may work."""

import time

from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import words
from sheepdog.recovery import throttle

WATCH_SECONDS = 1.0
BAR_WIDTH = 30
_BACK = '\x1b[%dA\x1b[J'
"""To the begin of so many lines before, and all behind it away."""


def show(session):
    """On a terminal for as long as it lasts, else once."""
    nodes = session.client.nodes.recovery()
    stdout = session.streams.stdout
    if session.is_json or session.is_raw or not stdout.isatty():
        _show_once(session, nodes)
        return
    shown = 0
    while True:
        lines = list(_bars(nodes))
        if shown:
            print(_BACK % shown, end='', file=stdout)
        session.show(nodes, lines)
        stdout.flush()
        shown = len(lines)
        if not _busy(nodes):
            return
        time.sleep(WATCH_SECONDS)
        nodes = session.client.nodes.recovery()


def info(session):
    _show_once(session, session.client.nodes.recovery())


def _show_once(session, nodes):
    session.show(nodes, tables.node_recovery(nodes, session.is_raw))


def _busy(nodes):
    return [node for node in nodes if node['done'] < node['total']]


def _bars(nodes):
    busy = _busy(nodes)
    if not busy:
        yield 'No node is in recovery.'
        yield from tables.postponed(nodes)
        return
    yield 'Nodes In Recovery:'
    for node in busy:
        done, total = node['done'], node['total']
        filled = BAR_WIDTH * done // total
        yield '%4d   %-20s [%s%s] %5.1f%%  %s' % (
            node['id'], words.host_port(node), '#' * filled,
            '.' * (BAR_WIDTH - filled), 100 * done / total,
            _left(node.get('seconds_left')))
        yield from tables.held_back(node)
    yield from tables.postponed(nodes)


def _left(seconds):
    if seconds is None:
        return ''
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return 'about %d h %02d min left' % (hours, minutes)
    if minutes:
        return 'about %d min %02d s left' % (minutes, seconds)
    return 'about %d s left' % seconds


def get_throttle(session):
    found = session.client.nodes.throttle()
    session.show(found, [_throttle_text(found, session.is_raw)])


def set_throttle(session):
    at_once = command.whole_number('MAX', session.arguments[0], 0,
                                   throttle.AT_ONCE_MAX)
    interval = command.whole_number('INTERVAL', session.arguments[1], 0,
                                    throttle.PAUSE_MS_MAX)
    found = session.client.nodes.set_throttle(
        at_once, interval, session.values.get('all', False))
    session.show(found)
    silent = [one for one in found if one.get('error')]
    for one in silent:
        session.warn('%s: %s' % (one['address'], one['error']))
    return exits.SYSTEM if silent else exits.OK


def _throttle_text(found, raw):
    if raw:
        return '%d %d' % (found['max'], found['interval'])
    return '%s at once, %d ms of rest behind each' % (
        words.count(found['max'], 'object'), found['interval'])


COMMANDS = (
    command.Command(('node', 'recovery'), show,
                    'show the nodes that restore redundancy'),
    command.Command(('node', 'recovery', 'info'), info,
                    'the same, once, also on a terminal'),
    command.Command(('node', 'recovery', 'get-throttle'), get_throttle,
                    'show how hard one node may work at it'),
    command.Command(
        ('node', 'recovery', 'set-throttle'), set_throttle,
        'change that, until the node stops: MAX objects at once (0: as it '
        'thinks fit), INTERVAL milliseconds of rest behind each',
        'MAX INTERVAL', (2, 2),
        (Option('A', 'all', 'on all nodes'),)),
)
