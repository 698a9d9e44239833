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

"""What all nodes do just now, from what two answers of theirs count."""

from sheepdog.cmd import words

COUNTS = ('read', 'write', 'bytes_read', 'bytes_written')


def between(before, after, seconds) -> list:
    """Of each node of ``ClusterCalls.activity``, and of all together (whose
    ``node`` is ''): requests and bytes per second; ``read_ms`` and
    ``write_ms``, what those took that were timed, None if none was;
    ``active``; ``used``, ``total`` in bytes; ``done`` of ``objects`` that are
    recovered. ``error``: it does not answer."""
    earlier = {node['incarnation']: node for node in before['nodes']
               if 'error' not in node}
    rows, times = [], []
    for node in after['nodes']:
        row = {'id': node['id'], 'node': words.host_port(node),
               'error': node.get('error', '')}
        if not row['error']:
            old = earlier.get(node['incarnation'], node)
            times.append(_times(old, node))
            row.update(_paces(old, node, seconds), **_means(times[-1]))
        rows.append(row)
    return rows + [_sum(rows, times)]


def _paces(old, node, seconds) -> dict:
    now, then = node['stat']['client'], old['stat']['client']
    paces = {key: max(now[key] - then[key], 0) / seconds for key in COUNTS}
    paces.update(
        active=now['active'], used=node['space']['used'],
        total=node['space']['total'], done=0, objects=0)
    progress = node['progress']
    if progress['is_running'] and progress['done'] < progress['total']:
        paces.update(done=progress['done'], objects=progress['total'])
    return paces


def _times(old, node) -> dict:
    """(how many, seconds) of reads, and of writes of both kinds."""
    found = {}
    for name, kinds in (('read_ms', ('read',)),
                        ('write_ms', ('write', 'write_back'))):
        found[name] = tuple(
            sum(node['waits'].get(kind, (0, 0))[place]
                - old['waits'].get(kind, (0, 0))[place] for kind in kinds)
            for place in (0, 1))
    return found


def _means(times) -> dict:
    return {name: 1e3 * seconds / count if count > 0 else None
            for name, (count, seconds) in times.items()}


def _sum(rows, times) -> dict:
    answers = [row for row in rows if not row['error']]
    total = {key: sum(row[key] for row in answers) for key in (
        *COUNTS, 'active', 'used', 'total', 'done', 'objects')}
    total.update(_means({
        name: tuple(sum(one[name][place] for one in times)
                    for place in (0, 1))
        for name in ('read_ms', 'write_ms')}), node='', error='')
    return total
