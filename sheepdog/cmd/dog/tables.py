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

"""The columns that scripts know: each function yields the lines of one
table. ``raw`` is for scripts: no header, single spaces, plain numbers."""

import time

from sheepdog.cmd import places
from sheepdog.cmd import states
from sheepdog.cmd import words
from sheepdog.model import sizes
from sheepdog.placement import redundancy


def _size(raw, value):
    return str(value) if raw else sizes.show_size(value)


def _percent(used, total):
    return used * 100 // total if total else 0


def cluster_info(info, raw, verbose):
    settings = info['settings']

    def fact(name, text):
        return text if raw else name + text

    yield fact('Cluster status: ', states.show(info))
    if verbose and info.get('missing'):
        yield fact('Missing nodes: ', ', '.join(info['missing']))
    if not settings:
        return
    created = settings['created'] >> 32
    if verbose:
        yield fact('Cluster store: ', '%s with %s redundancy policy' % (
            settings['store'], redundancy.text_of(settings['copies'],
                                                  settings['copy_policy'])))
        yield fact('Cluster vnodes strategy: ',
                   'fixed' if settings['fixed_vnodes'] else 'auto')
        yield fact('Cluster vnode mode: ', 'node')
    elif not raw:
        yield ''
    yield fact('Cluster created at ',
               str(created) if raw else time.ctime(created))
    if not raw:
        yield ''
        yield 'Epoch Time           Version [Host:Port:V-Nodes,,,]'
    for epoch in info['epochs']:
        members = ', '.join('%s:%d' % (words.host_port(member),
                                       member['vnodes'])
                            for member in epoch['members'])
        if raw:
            yield '%d %d [%s]' % (epoch['time'], epoch['epoch'], members)
        else:
            yield '%s %6d [%s]' % (
                time.strftime('%Y-%m-%d %H:%M:%S',
                              time.localtime(epoch['time'])),
                epoch['epoch'], members)


def node_list(nodes, raw):
    if not raw:
        yield '  Id   Host:Port         V-Nodes       Zone'
    for node in nodes:
        yield ('%d %s %d %d%s' if raw else '%4d   %-20s\t%2d%11d%s') % (
            node['id'], words.host_port(node), node['vnodes'], node['zone'],
            _remark(node, ' ' if raw else '  '))


def _remark(node, gap):
    if node.get('is_evicted'):
        return gap + 'evicted'
    return gap + 'slow' if node.get('is_slow') else ''


def node_info(info, raw):
    tab = ' ' if raw else '\t'
    if not raw:
        yield 'Id\tSize\tUsed\tAvail\tUse%'
    total = used = free = 0
    for node in info['nodes']:
        if node.get('error'):
            continue
        total += node['total']
        used += node['used']
        free += node['free']
        yield tab.join((
            ('%d' if raw else '%2d') % node['id'], _size(raw, node['total']),
            _size(raw, node['used']), _size(raw, node['free']),
            ('%d%%' if raw else '%3d%%') % _percent(node['used'],
                                                    node['total'])))
    sums = ('Total', _size(raw, total), _size(raw, used), _size(raw, free),
            ('%d%%' if raw else '%3d%%') % _percent(used, total))
    if raw:
        yield ' '.join(sums + (str(info['virtual_bytes']),))
    else:
        yield tab.join(sums)
        yield ''
        yield 'Total virtual image size\t' + sizes.show_size(
            info['virtual_bytes'])


_STATES = {'leaving': 'is being emptied', 'failing': 'fails'}


def disks(found, raw):
    """One node's; Id counts them. What is not as usual is told below."""
    tab = ' ' if raw else '\t'
    if not raw:
        yield 'Id\tSize\tUsed\tAvail\tUse%\tPath'
    for number, disk in enumerate(found):
        yield tab.join((
            ('%d' if raw else '%2d') % number, _size(raw, disk['total']),
            _size(raw, disk['used']), _size(raw, disk['free']),
            ('%d%%' if raw else '%3d%%') % _percent(disk['used'],
                                                    disk['total']),
            _escaped(disk['path']) if raw else disk['path']))
    if raw:
        return
    for number, disk in enumerate(found):
        if disk['state'] in _STATES:
            yield 'Disk %d %s, %d objects are on it%s' % (
                number, _STATES[disk['state']], disk['objects'],
                disk['problem'] and ': ' + disk['problem'])


def all_disks(nodes, raw):
    for node in nodes:
        if not raw:
            yield 'Node %d:' % node['id']
            yield from disks(node['disks'], raw)
        else:
            for line in disks(node['disks'], raw):
                yield '%d %s' % (node['id'], line)


def node_recovery(nodes, raw):
    if not raw:
        yield 'Nodes In Recovery:'
        yield ('  Id   Host:Port         V-Nodes       Zone       Progress')
    for node in nodes:
        if node['done'] >= node['total']:
            continue
        if raw:
            yield '%d %s %d %d %d %d' % (
                node['id'], words.host_port(node), node['vnodes'],
                node['zone'], node['done'], node['total'])
        else:
            yield '%4d   %-20s%5d%11d%11.1f%%' % (
                node['id'], words.host_port(node), node['vnodes'],
                node['zone'], 100 * node['done'] / node['total'])
            yield from held_back(node)
    if not raw:
        yield from postponed(nodes)


def postponed(nodes):
    """A line where recovery waits for who is away."""
    told = [node['postponed'] for node in nodes if node.get('postponed')]
    if told:
        until = max(one['until'] for one in told)
        yield 'Postponed until %s: what %s held, as it may come back.' % (
            time.strftime('%H:%M:%S', time.localtime(until)),
            words.some(sorted({name for one in told
                               for name in one['nodes']})))


def held_back(node):
    """A line where recovery steps back for clients."""
    found = node.get('held_back')
    if found:
        usual = found['usual_ms']
        yield '       holds back: clients of %s wait %.1f ms%s' % (
            found['of'], found['ms'],
            ', usually %.1f ms' % usual if usual else '')


def node_stat(stat, raw, before=None, seconds=1.0):
    """``before``: an earlier answer, so many seconds old, to show paces."""
    tab = ' ' if raw else '\t'
    if not raw:
        yield ('Request\tActive\tTotal\tWrite\tRead\tRemove\tFlush\tAll WR'
               '\tAll RD' + ('\tWR BW\tRD BW\tRPS' if before else ''))
    for title, key in (('Client', 'client'), ('Peer', 'peer')):
        row = stat[key]
        columns = [title] + [str(row[name]) for name in (
            'active', 'total', 'write', 'read', 'remove', 'flush')] + [
                _size(raw, row['bytes_written']),
                _size(raw, row['bytes_read'])]
        if before:
            pace = {name: max((row[name] - before[key][name]) / seconds, 0)
                    for name in ('bytes_written', 'bytes_read', 'total')}
            columns += [_size(raw, int(pace['bytes_written'])),
                        _size(raw, int(pace['bytes_read'])),
                        '%d' % pace['total']]
        yield tab.join(columns)


def activity(rows, raw):
    """See ``cmd.activity``; the last row is of all together."""
    if not raw:
        yield ('  Id   Host:Port              Read/s  Write/s    RD BW    '
               'WR BW   Read ms  Write ms  Active  Use%  Recovery')
    for row in rows:
        number = row.get('id', -1)
        if row['error']:
            yield ('%d %s error' % (number, row['node']) if raw else
                   '%4d   %-21s does not answer' % (number, row['node']))
        elif raw:
            yield '%d %s %.0f %.0f %.0f %.0f %s %s %d %d %d %d %d' % (
                number, row['node'] or 'all', row['read'], row['write'],
                row['bytes_read'], row['bytes_written'],
                _milliseconds(row['read_ms']),
                _milliseconds(row['write_ms']), row['active'], row['used'],
                row['total'], row['done'], row['objects'])
        else:
            yield ('%4s   %-21s %7.0f %8.0f %8s %8s %9s %9s %7d %4d%%  %s' % (
                number if number >= 0 else '', row['node'] or 'Total',
                row['read'], row['write'],
                sizes.show_size(int(row['bytes_read'])),
                sizes.show_size(int(row['bytes_written'])),
                _milliseconds(row['read_ms']),
                _milliseconds(row['write_ms']), row['active'],
                _percent(row['used'], row['total']),
                '%.1f%%' % (100 * row['done'] / row['objects'])
                if row['objects'] else '-'))


def _milliseconds(value):
    return '-' if value is None else '%.2f' % value


def vdi_list(vdis, raw):
    if not raw:
        yield ('  Name        Id    Size    Used  Shared    Creation time   '
               'VDI id  Copies  Tag   Block Size Shift')
    for vdi in vdis:
        copies = redundancy.text_of(vdi['copies'], vdi['copy_policy'])
        if vdi.get('copies_before') and not raw:
            copies = '%s>%s' % (redundancy.text_of(
                vdi['copies_before'], vdi.get('policy_before', 0)), copies)
        made = vdi.get('snapped') or vdi['created']
        mark = 's' if vdi['snapshot'] else 'c' if vdi['clone'] else ' '
        if raw:
            yield '%s %s %d %d %d %d %d %x %s %s %d' % (
                '=' if mark == ' ' else mark, _escaped(vdi['name']),
                vdi['snap_id'], vdi['size'], vdi['used'], vdi['shared'],
                made, vdi['vdi_id'], copies, _escaped(vdi['tag']),
                vdi['block_size_shift'])
        else:
            yield '%s %-8s %5d %7s %7s %7s %s   %6x %6s %13s %3d' % (
                mark, vdi['name'], vdi['snap_id'],
                sizes.show_size(vdi['size']), sizes.show_size(vdi['used']),
                sizes.show_size(vdi['shared']),
                time.strftime('%Y-%m-%d %H:%M', time.localtime(made)),
                vdi['vdi_id'], copies, vdi['tag'], vdi['block_size_shift'])


def object_location(found, copies, raw):
    """:param copies: see ``cmd.places``"""
    if raw:
        for copy in copies:
            yield '%s %s %d %s' % (copy.address, copy.state, copy.place,
                                   _strips(copy.strips) or '-')
        return
    if found['index'] < 0:
        yield 'Looking for the inode object 0x%06x with %d nodes' % (
            found['vdi_id'], found['members'])
    else:
        yield ('Looking for the object %s (vid 0x%06x idx %d, %s) with %d '
               'nodes' % (found['object'], found['vdi_id'], found['index'],
                          '%d:%d strips' % tuple(found['strips'])
                          if found['strips']
                          else '%d copies' % found['copies'],
                          found['members']))
    yield ''
    for copy in copies:
        if copy.state == 'unknown':
            yield '%s does not answer' % copy.address
        else:
            strips = _strips(copy.strips)
            yield '%s %s%s' % (copy.address, places.STATES[copy.state],
                               strips and ' (strip %s)' % strips)
    yield ''
    yield ('According to sheepdog algorithm, the object should be located '
           'at:')
    yield ' '.join(words.host_port(one) for one in found['expected'])


def _strips(strips):
    return ','.join(str(strip) for strip in strips if strip >= 0)


def object_map(rows, raw):
    if not raw:
        yield 'Index       VID'
    for row in rows:
        yield ('%d %x' if raw else '%08d %8x') % row


def object_track(found, rows, raw, is_named):
    """:param is_named: by its id alone"""
    if not raw:
        what = 'object %s' % found['object']
        if not is_named:
            what = ('inode object 0x%06x' % found['vdi_id']
                    if found['index'] < 0 else
                    '%s (the inode vid 0x%06x idx %d)' % (
                        what, found['vdi_id'], found['index']))
        yield 'Tracking the %s with %d nodes' % (what, found['members'])
    for epoch, copies, addresses in rows:
        if raw:
            yield ' '.join([str(epoch), str(copies), *addresses])
            continue
        yield ''
        yield 'obj %s locations at epoch %d, copies = %d' % (
            found['object'], epoch, copies)
        yield '-' * 51
        yield from addresses


def lock_list(locks, raw):
    if not raw:
        yield '  Name         Id  VDI id  Tag            Owner node(s)'
    for lock in locks:
        mark = 's' if lock['snap_id'] else ' '
        owners = [words.host_port(owner) for owner in lock['owners']]
        if raw:
            yield '%s %s %d %x %s %s' % (
                's' if lock['snap_id'] else '=', _escaped(lock['name']),
                lock['snap_id'], lock['vdi_id'], _escaped(lock['tag']),
                ','.join(owners))
        else:
            yield '%s %-8s  %5d  %6x  %-13s  %s' % (
                mark, lock['name'], lock['snap_id'], lock['vdi_id'],
                lock['tag'], ', '.join(owners))


def limits(found, raw):
    """Of VDIs: a row for each limit."""
    if not raw:
        yield ('  Name         Limit       Rate/s     Burst   Waiting  '
               'Delayed')
    for vdi in found:
        for kind, (rate, burst) in vdi['limits'].items():
            shown = [str(one) if raw or not kind.endswith('bytes')
                     else sizes.show_size(one) for one in (rate, burst)]
            if not burst and not raw:
                shown[1] = '-'
            if raw:
                yield ' '.join((_escaped(vdi['name']), kind, *shown,
                                str(vdi['waiting']), str(vdi['delayed'])))
            else:
                yield '  %-12s %-11s %7s %8s %8d %8d' % (
                    vdi['name'], kind, *shown, vdi['waiting'],
                    vdi['delayed'])


def _escaped(text):
    """A name as one word: readers undo the backslashes."""
    return text.replace('\\', '\\\\').replace(' ', '\\ ')
