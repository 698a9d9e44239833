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

"""The results as a table for people; JSON is for everything else."""

from bench import marks

_LINE = '%-46s %9.0f %8.1f %8.3f %8.3f %8.2f %9.4f %7.1f %9.4f %6.0f'
_HEAD = ('%-46s %9s %8s %8s %8s %8s %9s %7s %9s %6s'
         % ('', 'IOPS', 'MB/s', 'p50 ms', 'p99 ms', 'max ms', 'CPU ms/op',
            'x loop', 'own CPU', 'RSS MB'))


def head() -> str:
    return _HEAD


def line(row: dict, calibration: float) -> str:
    """One row. "CPU ms/op" is of all sheep together, "x loop" the same over
    the calibration loop's turn, "own CPU" the load generator's ms per
    operation, "RSS MB" the most that any sheep had resident."""
    latency = row['latency']
    return _LINE % (
        row['name'], row['iops'], row['bytes_per_second'] / 1e6,
        latency['p50'] * 1e3, latency['p99'] * 1e3, latency['max'] * 1e3,
        row['cpu_per_operation'] * 1e3,
        row['cpu_per_operation'] / calibration,
        row['client_cpu_per_operation'] * 1e3, row['highest_bytes'] / 1e6)


def soak_line(sample: dict) -> str:
    return '%7.1f s  %-46s resident %s MB (highest %s)' % (
        sample['seconds'], sample['load'],
        _megabytes(now for now, _ in sample['resident']),
        _megabytes(highest for _, highest in sample['resident']))


def rest(results: dict) -> str:
    """Everything that is no row."""
    lines = ['', 'calibration loop: %.3f us a turn'
             % (results['calibration'] * 1e6)]
    if results.get('first_start'):
        lines.append('exec to first answer, new stores: %s s'
                     % _seconds(results['first_start']))
    for result in results.get('kills', ()):
        lines.append(
            'kill -9: epoch changed after %.2f s, longest write %.2f s; '
            'exec to serving %.2f s, whole again after %.2f s' % (
                result['epoch_change'], result['longest_write'],
                result['start'], result['recovery']))
    if results.get('stop'):
        lines.append('orderly: stopped in %.2f s, epoch changed after %.2f '
                     's; exec to serving %.2f s' % (
                         results['stop']['stop'],
                         results['stop']['epoch_change'],
                         results['stop']['start']))
    lines += _recovery(results.get('recovery'))
    if results.get('plan'):
        lines.append(
            'one of 1,000 members lost, %(objects)d objects here: ring '
            '%(place).2f s of CPU, what the others are told %(tell).2f s, '
            'finding the %(coming)d that come here %(plan).2f s'
            % results['plan'])
    for name, sizes in results.get('memory', {}).items():
        lines.append('resident %s: %s MB (highest %s)' % (
            name, _megabytes(now for now, _ in sizes),
            _megabytes(highest for _, highest in sizes)))
    table = marks.table(results)
    if table:
        lines += ['', table]
    return '\n'.join(lines)


def _recovery(result):
    if not result:
        return []
    loss, rejoin = result['loss'], result['rejoin']
    alone = result['loss_alone']
    return [
        'a sheep lost for good: %d objects of 4 MiB made whole in %.2f s, '
        '%.2f s of CPU (of %.0f, %d MB written)' % (
            result['objects'], alone['seconds'], alone['cpu'],
            alone['objects'], alone['written'] / 1e6),
        'while a client reads 4K, depth 1: in %.2f s, %.2f s of CPU (of '
        '%.0f); %d reads meanwhile, %.3f ms (median), quiet %.3f ms' % (
            loss['seconds'], loss['cpu'], loss['objects'], loss['reads'],
            loss['read_p50'] * 1e3, rejoin['quiet_read_p50'] * 1e3),
        'a sheep returns: %.2f s to join, whole %.2f s later, %.2f s of CPU, '
        '%.1f MB written; %.1f MB were changed meanwhile' % (
            rejoin['start'], rejoin['seconds'], rejoin['cpu'],
            rejoin['written'] / 1e6, rejoin['changed'] / 1e6)]


def _seconds(values):
    return ', '.join('%.2f' % value for value in values)


def _megabytes(sizes):
    return ', '.join('%d' % (size / 1e6) for size in sizes)
