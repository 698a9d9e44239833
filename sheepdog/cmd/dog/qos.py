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

"""dog vdi qos: limits on what a VDI may take of the cluster's pace."""

from sheepdog.cluster import qos
from sheepdog.cmd.dog import command
from sheepdog.cmd.dog import tables
from sheepdog.cmd import exits
from sheepdog.model import errors
from sheepdog.model import sizes

WORDS = ', '.join(qos.KINDS)


def set_limits(session):
    name, *words = session.arguments
    changes = dict(map(_limit, words))
    if len(changes) < len(words):
        raise exits.UsageError('each limit once')
    done = session.client.vdis.set_limits(name, changes)
    session.show(done)


def _limit(word) -> tuple:
    """'iops=500', 'bytes=10M:50M', 'iops=none' → kind, (rate, burst) or
    None."""
    kind, equals, text = word.partition('=')
    if kind not in qos.KINDS or not text:
        raise exits.UsageError(
            "'%s' is no limit: KIND=RATE[:BURST] or KIND=none, of %s"
            % (word, WORDS))
    if text == 'none':
        return kind, None
    rate, colon, burst = text.partition(':')
    return kind, [_number(kind, rate), _number(kind, burst) if colon else 0]


def _number(kind, text) -> int:
    try:
        if qos.is_bytes(kind):
            number = sizes.parse_size(text)
        else:
            number = int(text) if text.isascii() and text.isdigit() else 0
    except (errors.InvalidParameters, ValueError) as exc:
        raise exits.UsageError('%s: %s' % (kind, exc)) from None
    if not number:
        raise exits.UsageError(
            "%s: '%.40s' is no number above zero ('none' ends a limit)"
            % (kind, text))
    return number


def show(session):
    found = session.client.vdis.limits(session.argument(0, ''))
    session.show(found, tables.limits(found, session.is_raw))


def clear(session):
    session.client.vdis.set_limits(session.arguments[0], {}, clear=True)
    session.show({})


COMMANDS = (
    command.Command(
        ('vdi', 'qos', 'set'), set_limits,
        'limit what a VDI may take: KIND is one of %s, each a second, BURST '
        'so many at once after a rest; KIND=none ends a limit' % WORDS,
        'NAME KIND=RATE[:BURST]...', (2, 1 + len(qos.KINDS))),
    command.Command(('vdi', 'qos', 'show'), show,
                    'show the limits of a VDI, or of all', '[NAME]', (0, 1)),
    command.Command(('vdi', 'qos', 'clear'), clear,
                    'end all limits of a VDI', 'NAME', (1, 1)),
)
