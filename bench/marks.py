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

"""What the numbers are held against: marks, and aims beyond them.

A mark is what a release must hold, about half of what the C original takes
on such a machine; an aim is what would be good. Throughput depends on the
machine and on what else it does: a mark missed on a busy one says little.
"""

import dataclasses
import re
import typing


class Limits(typing.NamedTuple):
    """CPU: ms of all sheep per operation, at most; IOPS: at least. 0: there
    is none."""

    cpu: float
    cpu_aim: float
    iops: float = 0.0
    iops_aim: float = 0.0


ROWS = {
    'random write 4K durable, depth 32': Limits(0.14, 0.08, 6000, 12000),
    'random write 4K write-back, depth 32':
        Limits(0.10, 0.05, 10000, 20000),
    'random read 4K, depth 32': Limits(0.015, 0.008, 60000, 120000),
    'random write 4K durable, depth 1': Limits(0, 0, 1200, 1900),
    'random write 4K write-back, depth 1': Limits(0.40, 0.25),
    'random read 4K, depth 1': Limits(0.06, 0.035),
    'sequential write 1M write-back, depth 4': Limits(3.5, 2.2),
    'sequential read 1M, depth 4': Limits(0.8, 0.45),
}
"""By the name of the row, without its face."""

CODED = {
    '4:2 sequential write 1M write-back, depth 4': Limits(4.2, 2.1),
    '4:2 sequential read 1M, depth 4': Limits(2.8, 1.4),
}
"""Of six sheep, by the name of the row."""

NBD_OVER_NATIVE = 1.3
"""What the same row may cost over NBD, times what it costs natively."""
RESIDENT_MB = 100.0
GROWTH_MB = 4.0
"""What an allocator may keep more of at one time than at another."""
START_SECONDS = 1.5
PLAN_SECONDS = 1.0
"""On one core, at 1,000 members with 1 TiB each in objects of 4 MiB."""
EPOCH_CHANGE_SECONDS = 0.5
"""With the embedded driver of coordination."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """One number and what it is held against. ``aim`` 0: there is none.
    """

    name: str
    unit: str
    measured: float
    limit: float
    aim: float = 0.0
    is_minimum: bool = False

    def _reaches(self, value: float) -> bool:
        return (self.measured >= value if self.is_minimum
                else self.measured <= value)

    @property
    def is_held(self) -> bool:
        return self._reaches(self.limit)

    @property
    def verdict(self) -> str:
        if not self.is_held:
            return 'MISSED'
        if self.aim and self._reaches(self.aim):
            return 'held, and the aim'
        return 'held'


def marks(results: dict) -> list:
    """All that can be said of the results of one run."""
    rows = {row['name']: row for row in results['rows']}
    found = []
    for row in results['rows']:
        face, _, name = row['name'].partition(' ')
        if face == 'nbd':
            found += _of_nbd(row, rows.get('native ' + name))
        elif name in ROWS:
            found += _of_native(row, ROWS[name])
    for row in results.get('coded', ()):
        if row['name'] in CODED:
            found += _of_native(row, CODED[row['name']])
    return found + list(_of_daemons(results))


def _of_recovery(recovery):
    """The C original took 1.2 to 2.0 s and 1.65 s of CPU for 142 objects,
    0.9 to 1.8 s for a return."""
    loss, rejoin = recovery['loss'], recovery['rejoin']
    # (While clients are there it steps back, and its CPU is theirs, too.)
    alone = recovery['loss_alone']
    yield Mark('142 lost objects made whole', 's', alone['seconds'], 2.0, 1.2)
    yield Mark('142 lost objects made whole', 'CPU s', alone['cpu'], 1.65)
    yield Mark('a sheep returns, whole after', 's',
               rejoin['start'] + rejoin['seconds'], 1.8, 0.9)
    yield Mark('4K read during recovery, times quiet', 'x',
               loss['read_p50'] / (rejoin['quiet_read_p50'] or 1), 3.0)


def _of_soak(soak):
    yield Mark('resident at most, under all loads', 'MB',
               soak['highest_mb'], RESIDENT_MB)
    yield Mark('growth of the resident over %.0f min'
               % (soak['seconds'] / 60), 'MB', soak['growth_mb'],
               GROWTH_MB)


def _of_native(row, limits):
    if limits.cpu:
        yield Mark(row['name'], 'CPU ms/op', row['cpu_per_operation'] * 1e3,
                   limits.cpu, limits.cpu_aim)
    if limits.iops:
        yield Mark(row['name'], 'IOPS', row['iops'], limits.iops,
                   limits.iops_aim, True)


def _of_nbd(row, native):
    if native is not None:
        yield Mark(row['name'], 'CPU ms/op', row['cpu_per_operation'] * 1e3,
                   NBD_OVER_NATIVE * native['cpu_per_operation'] * 1e3)


def _of_daemons(results):
    highest = [row['highest_bytes'] for row in results['rows']
               if 'highest_bytes' in row]
    highest += [most for sizes in results['memory'].values()
                for _, most in sizes]
    if highest:
        yield Mark('resident at most, any sheep', 'MB', max(highest) / 1e6,
                   RESIDENT_MB)
    if results['first_start']:
        yield Mark('exec to first answer, new store', 's',
                   max(results['first_start']), START_SECONDS)
    kills = results['kills']
    if kills:
        yield Mark('exec to serving after kill -9', 's',
                   max(kill['start'] for kill in kills), START_SECONDS)
        yield Mark('epoch change after kill -9', 's',
                   max(kill['epoch_change'] for kill in kills),
                   EPOCH_CHANGE_SECONDS)
    if results.get('recovery'):
        yield from _of_recovery(results['recovery'])
    if results.get('plan'):
        yield Mark('1,000 members, one lost: the plan of one', 'CPU s',
                   results['plan']['cpu'], PLAN_SECONDS)
    if results.get('soak'):
        yield from _of_soak(results['soak'])


def table(results: dict) -> str:
    """The marks beside what was measured; '' where there are none."""
    lines = ['%-46s %-9s %10s    %10s %10s  %s' % (
        mark.name, mark.unit, _number(mark.measured),
        ('>= ' if mark.is_minimum else '<= ') + _number(mark.limit),
        _number(mark.aim) if mark.aim else '', mark.verdict)
        for mark in marks(results)]
    if not lines:
        return ''
    head = '%-46s %-9s %10s    %10s %10s' % (
        '', '', 'measured', 'mark', 'aim')
    return '\n'.join([head] + lines)


def _number(value: float) -> str:
    if value >= 100:
        return '%.0f' % value
    return re.sub(r'(\.\d\d*?)0+$', r'\1', '%.4f' % value)
