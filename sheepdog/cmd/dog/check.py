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

"""dog cluster check, dog vdi check: look through the copies, now."""

import time
import uuid

from sheepdog.cmd.dog import command
from sheepdog.cmd import exits
from sheepdog.cmd.options import Option
from sheepdog.cmd import progress
from sheepdog.cmd import words
from sheepdog.model import sizes

POLL_SECONDS = 0.5
LOST_SECONDS = 30.0
"""A sheep that has not answered for so long is not waited for."""

KINDS = {
    'missing': 'named by the VDI, and no sheep has it',
    'irreparable': 'bad, and no copy is good',
    'differs': 'the copies differ, and nothing tells which one is right',
    'unknown': 'of no VDI that is known',
    'unchecked': 'could not be checked, or mended, now',
}


def check_cluster(session):
    return _report(session, _look(session, ''), 'the cluster')


def check_vdi(session):
    name = session.arguments[0]
    which = session.snapshot()
    missing = _missing(session, name, which)
    nodes = []
    if not session.values.get('exist'):
        nodes = _look(session, name, **which)
    return _report(session, nodes, name, missing)


def _missing(session, name, which):
    found, place = [], 0
    shown = progress.Progress(session.streams.stderr, unit='objects')
    try:
        while place is not None:
            answer = session.client.vdis.missing(name, first=place, **which)
            found += answer['missing']
            place = answer['next']
            shown.update(place or 0, answer['total'])
    finally:
        shown.end()
    return found


def _look(session, vdi, tag='', snap_id=0):
    """Start a check, and wait for its end: what each sheep has found."""
    calls = session.client.cluster
    name = uuid.uuid4().hex
    shown = progress.Progress(session.streams.stderr, unit='objects')
    nodes = {}
    try:
        _take(nodes, calls.check('start', name, vdi, tag, snap_id))
        while any(one['state'] == 'running' for one in nodes.values()):
            shown.update(sum(one['objects'] for one in nodes.values()),
                         sum(one['total'] for one in nodes.values()))
            time.sleep(POLL_SECONDS)
            _take(nodes, calls.check('show', name))
    except KeyboardInterrupt:
        calls.check('stop', name)
        raise
    finally:
        shown.end()
    return list(nodes.values())


def _take(nodes, answers):
    """``nodes``: address → how its check stands."""
    now = time.monotonic()
    answered = set()
    for one in answers:
        address = words.host_port(one)
        answered.add(address)
        if one.get('check'):
            nodes[address] = dict(one['check'], address=address, heard=now)
        elif address not in nodes:
            # It came when the check had begun, or does not answer.
            nodes[address] = {
                'address': address, 'state': 'running', 'heard': now,
                'objects': 0, 'total': 0, 'bytes': 0, 'bad_blocks': 0,
                'mended': 0, 'settled': 0, 'counts': {}, 'problems': []}
        elif 'error' not in one:
            # Started anew: of its check it knows nothing.
            nodes[address]['heard'] = float('-inf')
    for address, node in nodes.items():
        if (node['state'] == 'running'
                and now - node['heard'] > LOST_SECONDS):
            node['state'] = 'lost'


def _report(session, nodes, what, missing=()):
    problems = [{'kind': 'missing', 'object': oid, 'detail': ''}
                for oid in missing]
    counts = {'missing': len(missing)}
    for node in nodes:
        node.pop('heard')
        problems += [dict(problem, node=node['address'])
                     for problem in node['problems']]
        for kind, count in node['counts'].items():
            counts[kind] = counts.get(kind, 0) + count
    lost = [node['address'] for node in nodes if node['state'] != 'done']
    found = {key: sum(node[key] for node in nodes) for key in (
        'objects', 'bytes', 'bad_blocks', 'mended', 'settled')}
    found.update(counts=counts, problems=problems, unfinished=lost,
                 nodes=nodes)
    session.show(found, _lines(found, what, session.is_raw))
    for problem in problems:
        session.warn('object %s%s: %s%s' % (
            problem['object'], ' (%s)' % problem['node']
            if 'node' in problem else '', KINDS[problem['kind']],
            ': ' + problem['detail'] if problem['detail'] else ''))
    for address in lost:
        session.warn('%s did not finish: check again' % address)
    if lost or any(counts.values()):
        return exits.SYSTEM
    if found['bad_blocks'] or found['mended'] or found['settled']:
        return exits.MENDED
    return exits.OK


def _lines(found, what, raw):
    if raw:
        return ['%d %d %d %d %d' % (
            found['objects'], found['bytes'], found['bad_blocks'],
            found['mended'] + found['settled'],
            sum(found['counts'].values()))]
    lines = ['checked %s: %d copies, %s read' % (
        what, found['objects'], sizes.show_size(found['bytes']))]
    if found['bad_blocks'] or found['mended']:
        lines.append('%d bad blocks were found; %d copies are good again' % (
            found['bad_blocks'], found['mended']))
    if found['settled']:
        lines.append('%d objects had a copy that differed, and is equal '
                     'again' % found['settled'])
    left = sum(found['counts'].values())
    if left:
        lines.append('%d objects are not well' % left)
    elif not (found['bad_blocks'] or found['mended'] or found['settled']):
        lines.append('all is well')
    return lines


COMMANDS = (
    command.Command(('cluster', 'check'), check_cluster,
                    'read and compare all copies now, and mend what is bad'),
    command.Command(
        ('vdi', 'check'), check_vdi,
        'read and compare the copies of a VDI now, and mend what is bad',
        'NAME', (1, 1),
        (Option('e', 'exist', 'only look whether its objects are there'),
         Option('s', 'snapshot', 'the snapshot with that tag or id',
                'SNAPSHOT'))),
)
