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

"""Tests of sheepdog.cmd.diagnosis, of its symptoms and remedies."""

import copy
import re
import unittest

from sheepdog.cmd import diagnosis
from sheepdog.cmd import remedies

NOW = 1000000.0
A, B, C = ('10.0.0.%d:7000' % number for number in (1, 2, 3))


def member(number, zone=None, vnodes=128):
    return {'node': 'n%d' % number, 'incarnation': 'n%d.1' % number,
            'host': '10.0.0.%d' % number, 'port': 7000,
            'zone': number if zone is None else zone, 'vnodes': vnodes}


def view(epoch, *members, time=NOW - 500):
    return {'epoch': epoch, 'time': time, 'members': list(members)}


THREE = [member(1), member(2), member(3)]


def answer(number, **changes):
    """Of a sheep in a cluster where all is well."""
    fields = {
        'address': '10.0.0.%d:7000' % number, 'node': 'n%d' % number,
        'now': NOW, 'status': 'ok', 'reason': '', 'missing': [],
        'serving': True, 'lease': True,
        'leader': {'host': '10.0.0.1', 'port': 7000},
        'is_leader': number == 1, 'term': 1, 'epoch': 2, 'sequence': 9,
        'live': [A, B, C], 'since': NOW - 400, 'lapsed': None, 'problem': '',
        'problem_since': None, 'prepared': None, 'refusals': [],
        'copies': 3, 'policies': [[3, 0, 5]], 'strict': False,
        'view': view(2, *THREE), 'before': view(1, *THREE),
        'recovery': {'is_running': False, 'done': 0, 'total': 0,
                     'waiting': [], 'obstacle': None},
        'store': {'failure': '', 'is_full': False, 'total': 100, 'used': 10,
                  'free': 90, 'bad_objects': 0, 'irreparable': [],
                  'differing': [], 'quarantined': 0, 'lost_disks': []},
        'turning': [],
        'locks': [], 'refused_locks': [], 'clients': [], 'exposed': [],
        'laggards': [], 'evicted': [],
        'slow': {'count': 0, 'requests': [], 'seconds': 5.0}, 'peers': {}}
    for name, value in changes.items():
        assert name in fields, name
        if isinstance(fields[name], dict) and isinstance(value, dict):
            fields[name] = dict(fields[name], **value)
        else:
            fields[name] = value
    return fields


def found(first=None, second=None, third=None):
    """One changes-dict for each of three sheep; a text: it is silent, and
    why."""
    entries = []
    for number, changes in enumerate((first, second, third), 1):
        entry = {'address': '10.0.0.%d:7000' % number, 'node': 'n%d' % number}
        if isinstance(changes, str):
            entry['error'] = changes
        else:
            entry['answer'] = answer(number, **copy.deepcopy(changes or {}))
        entries.append(entry)
    return entries


WAITING = {'status': 'wait-join', 'serving': False, 'missing': [C],
           'reason': 'members are missing', 'live': [A, B]}
UNFORMATTED = {'status': 'wait-format', 'serving': False, 'view': None,
               'before': None, 'copies': 0}
FROZEN = {'status': 'frozen', 'serving': False, 'prepared': 3}
NO_SERVICE = {'problem': 'connection refused', 'problem_since': NOW - 60}
UNTOLD = {'reason': 'what epoch 1 wrote may be known only to 10.0.0.9:7000',
          'count': 2, 'since': NOW - 30, 'example': '00abcdef00000001',
          'is_untold': True}
HELD = {'vdi_id': 5, 'name': 'vm', 'mode': 'exclusive', 'users': 1,
        'since': NOW - 50}
REFUSED = {'vdi_id': 5, 'name': 'vm', 'since': NOW - 5, 'owners': ['n2.1']}
SLOW = {'id': A + '/7', 'seconds': 12.0, 'vdi_id': 5, 'attempts': 0,
        'waits_for': [C], 'text': 'write of object 00, no answer from ' + C}

CASES = (
    # what, facts, exit code, {code: words of what, since}
    ('all is well', found(), 0, {}),
    ('a new cluster', found(UNFORMATTED, UNFORMATTED, UNFORMATTED), 2,
     {'wait-format': ('are there', NOW - 400)}),
    ('cold start', found(WAITING, WAITING, 'refused'), 2,
     {'wait-members': ('waits for %s, of epoch 2' % C, NOW - 400)}),
    ('a shutdown', found(*[{'status': 'shutdown', 'serving': False}] * 3), 2,
     {'shutting-down': ('shuts down', NOW - 400)}),
    ('no coordination, leases left', found(NO_SERVICE), 1,
     {'coordination-away': ('connection refused', NOW - 60)}),
    ('no coordination, leases gone', found(*[dict(
        NO_SERVICE, status='lapsed', serving=False,
        reason='no heartbeat in time')] * 3), 2,
     {'coordination-away': (C, NOW - 60),
      'node-lapsed': ('no heartbeat', NOW - 400)}),
    ('starting without coordination', found(*[dict(
        NO_SERVICE, status='starting', serving=False)] * 3), 2,
     {'coordination-away': (A, NOW - 60)}),
    ('nobody leads', found(*[{'leader': None, 'is_leader': False}] * 3), 1,
     {'no-leader': ('no sheep leads', None)}),
    ('an epoch hangs', found(FROZEN, FROZEN, 'no answer'), 2,
     {'epoch-prepared': ('epoch 3 is prepared and not decided yet; %s does '
                         'not answer' % C, NOW - 400),
      'node-unreachable': (C + ' cannot be reached: no answer', None)}),
    ('one is not let in yet', found(third={
        'status': 'wait-join', 'serving': False,
        'reason': 'waiting for the leader'}), 1,
     {'joining': (C + ' is not let in yet: waiting for the leader',
                  NOW - 400)}),
    ('one has lapsed', found(third={
        'status': 'lapsed', 'serving': False,
        'reason': 'no heartbeat in time'}), 1,
     {'node-lapsed': (C + ' has lost its lease: no heartbeat', NOW - 400)}),
    ('one had lapsed', found(third={'lapsed': [NOW - 900, 'fenced']}), 0,
     {'lapsed-lately': (C + ' lost its lease: fenced', NOW - 900)}),
    ('one had lapsed long ago', found(third={'lapsed': [1.0, 'fenced']}), 0,
     {}),
    ('one was refused', found({'refusals': [
        {'host': '10.0.0.9', 'port': 7000, 'since': NOW - 9,
         'reason': 'of another cluster'}]}), 1,
     {'node-refused': ('10.0.0.9:7000 was not let into the cluster: of '
                       'another cluster', NOW - 9)}),
    ('one was refused, and is in now', found({'refusals': [
        {'host': '10.0.0.3', 'port': 7000, 'since': NOW - 9,
         'reason': 'of another cluster'}]}), 0, {}),
    ('one that is refused tells itself', found(third={
        'status': 'refused', 'serving': False, 'reason': 'old',
        'since': NOW - 1}), 1, {'node-refused': (C + ' was not', NOW - 1)}),
    ('one does not answer', found(third='does not greet back'), 1,
     {'node-unreachable': (C + ' cannot be reached: does not greet', None)}),
    ('one cannot be reached by another', found({'peers': {
        B: '', C: 'no route to host'}}), 1,
     {'node-unreachable': ('%s cannot be reached by %s: no route' % (C, A),
                           None)}),
    ('fewer zones than copies', found(*[{
        'view': view(3, member(1), member(2)),
        'before': view(2, *THREE)}] * 2, 'gone')[:2], 1,
     {'few-zones': ('2 of 3 copies: the nodes are in 2 zones; %s left with '
                    'epoch 3' % C, NOW - 500)}),
    ('fewer zones than copies, strictly', found(*[{
        'view': view(3, member(1), member(2)), 'strict': True,
        'before': view(2, *THREE)}] * 2, 'gone')[:2], 1,
     {'strict-zones': ('takes no writes; objects have 2 of 3 copies: the '
                       'nodes are in 2 zones; %s left with epoch 3' % C,
                       NOW - 500)}),
    ('fewer zones than strips', found(*[{
        'policies': [[3, 0, 5], [4, 0x12, 1], [6, 0x22, 2]]}] * 3), 1,
     {'few-zones': ('objects of 2:2 (1 VDI) have 3 of 4 strips: the nodes are '
                    'in 3 zones', NOW - 500),
      'no-zones': ('objects of 4:2 (2 VDIs) have 3 of 6 strips: the nodes are '
                   'in 3 zones', NOW - 500)}),
    ('gateways are no zone', found(*[{'view': view(
        3, member(1), member(2), member(3, vnodes=0))}] * 3), 1,
     {'few-zones': ('2 of 3 copies: the nodes are in 2 zones', NOW - 500)}),
    ('recovery', found({'recovery': {
        'is_running': True, 'done': 3, 'total': 9}}), 1,
     {'recovering': ('on %s: 3 of 9 objects' % A, NOW - 500)}),
    ('recovery is disabled', found({'recovery': {'is_postponed': True}}), 1,
     {'recovery-disabled': ('something to do on ' + A, NOW - 500)}),
    ('who is away is waited for', found({'recovery': {'grace': {
        'nodes': ['10.0.0.4:7000'], 'until': NOW + 30, 'objects': 2}}}, {
            'recovery': {'grace': {'nodes': ['10.0.0.4:7000'],
                                   'until': NOW + 600, 'objects': 1}}}), 1,
     {'recovery-postponed': (
         'recovery of what 10.0.0.4:7000 held is postponed for 10 min more',
         NOW - 500)}),
    ('recovery cannot go on', found({'recovery': {
        'is_running': True, 'done': 3, 'total': 9, 'waiting': [dict(
            UNTOLD, reason='no space', is_untold=False, count=1)]}}), 1,
     {'recovering': ('3 of 9', NOW - 500),
      'recovery-waits': ('1 object on %s (00abcdef00000001 for one) cannot '
                         'be made whole yet: no space' % A, NOW - 30)}),
    ('objects wait for somebody', found({'recovery': {
        'waiting': [UNTOLD]}}), 1,
     {'objects-missing': ('2 objects on %s' % A, NOW - 30)}),
    ('there may be objects that nobody lists', found({'recovery': {
        'obstacle': UNTOLD}}), 1,
     {'objects-missing': ('recovery on %s waits: what epoch 1 wrote' % A,
                          NOW - 30)}),
    ('recovery would not fit', found({'recovery': {'no_room': {
        'since': NOW - 30, 'reason': '9 objects (about 36 MB) are to come '
        'here, and there is room for 4.0 MB'}}}), 1,
     {'recovery-no-room': ('not started on %s: 9 objects (about 36 MB)' % A,
                           NOW - 30)}),
    ('no room for the loss of a zone', found(
        *[{'copies': 2}] * 2, {'copies': 2, 'store': {
            'total': 100 << 20, 'used': 80 << 20, 'free': 20 << 20,
            'kept': 8 << 20}}), 1,
     {'zone-room': ('without zone 3, %s would be given about 40 MB and has '
                    'room for 0.0 MB' % A, None)}),
    ('somebody is silent: nobody guesses whether there is room', found(
        {'copies': 2}, {'copies': 2, 'store': {'used': 99, 'total': 999}},
        'gone')[:2], 0, {}),
    ('a full disk', found({'store': {'is_full': True, 'used': 99}}), 1,
     {'disk-full': (A, None)}),
    ('a disk that fills', found({'store': {'used': 85}}), 1,
     {'disk-filling': (A + ' is 85 % full', None)}),
    ('a disk that fails', found({'store': {'failure': 'EIO'}}), 1,
     {'disk-failed': (A + ' fails: EIO', None)}),
    ('one that others still need', found(
        {'store': {'failure': 'EIO'}}, {'recovery': {
            'is_running': True, 'done': 3, 'total': 9, 'waiting': [dict(
                UNTOLD, reason='no copy', is_untold=False)]}}), 1,
     {'disk-needed': ('the disk of %s fails (EIO), and is kept in use until '
                      '%s is whole: 2 objects there cannot' % (A, B),
                      NOW - 30),
      'recovering': ('3 of 9', NOW - 500),
      'recovery-waits': ('2 objects on ' + B, NOW - 30)}),
    ('what cannot be turned', found({'turning': [{
        'name': 'v', 'count': 2, 'since': NOW - 30, 'example': '00',
        'reason': 'it is out of reach just now'}]}), 1,
     {'turning-waits': ('2 objects (00 for one) cannot be copied by %s just '
                        'now: it is out' % A, NOW - 30)}),
    ('one that is needed for a reason of the pass', found(
        {'store': {'failure': 'EIO'}}, *2 * [{'recovery': {
            'is_running': True, 'done': 0, 'total': 0, 'obstacle': dict(
                UNTOLD)}}]), 1,
     {'disk-needed': ('until %s, %s are whole' % (B, C), NOW - 30),
      'recovering': ('0 of 0', NOW - 500),
      'objects-missing': ('recovery on', NOW - 30)}),
    ('one that fails itself', found({'store': {'failure': 'EIO'}, 'recovery': {
        'is_running': True, 'obstacle': UNTOLD}}), 1,
     {'disk-failed': (A + ' fails: EIO', None),
      'recovering': ('0 of 0', NOW - 500),
      'objects-missing': (A, NOW - 30)}),
    ('a lost disk', found({'store': {'lost_disks': ['/d1', '/d2']}}), 0,
     {'disk-lost': (A + ' has given up /d1, /d2', None)}),
    ('damage', found({'store': {'bad_objects': 1}}), 0,
     {'damaged-blocks': ('1 object with damaged blocks on ' + A, None)}),
    ('damage that nobody can mend', found({'store': {
        'bad_objects': 1, 'irreparable': ['00']}}), 1,
     {'damage-irreparable': ('no copy is good in parts of 00', None)}),
    ('copies that differ', found({'store': {'differing': ['00', '01']}}), 1,
     {'copies-differ': ('the copies of 00, 01 differ, as %s' % A, None)}),
    ('what was set aside', found({'store': {'quarantined': 2}}), 0,
     {'quarantined': ('2 things in quarantine on ' + A, None)}),
    ('slow requests', found({'slow': {'count': 2, 'requests': [SLOW]}}), 1,
     {'slow-requests': ('2 requests of clients wait through %s for more '
                        'than 5 s; the oldest: write' % A, NOW - 12)}),
    ('a slow node', found(*3 * [{'laggards': [
        THREE[1]['incarnation']]}]), 1,
     {'node-slow': (B + ' is slow', None)}),
    ('an evicted node', found(*3 * [
        {'laggards': [THREE[1]['incarnation']],
         'evicted': [['n2', NOW - 9, False]]}]), 0,
     {'node-evicted': (B + ' keeps no objects, since it was slow',
                       NOW - 9)}),
    ('one that was evicted by hand', found(*3 * [
        {'evicted': [['n2', NOW - 9, True]]}]), 0,
     {'node-evicted': ('as an operator wanted', NOW - 9)}),
    ('a lock that somebody wants', found(
        {'refused_locks': [REFUSED]},
        {'locks': [HELD], 'clients': [['nbd', '10.1.1.1:99', 'vm'],
                                      ['nbd', '10.1.1.2:99', 'other']]}), 1,
     {'lock-contended': ('VDI vm was refused to a client of %s: %s has it, '
                         'for the client at 10.1.1.1:99' % (A, B),
                         NOW - 5)}),
    ('a lock of one that is silent', found(
        {'refused_locks': [REFUSED]}, 'gone'), 1,
     {'lock-contended': ('%s has it' % B, NOW - 5),
      'node-unreachable': (B, None)}),
    ('a lock that somebody wanted', found(
        {'refused_locks': [dict(REFUSED, since=1.0)]}, {'locks': [HELD]}), 0,
     {}),
    ('a lock that nobody uses', found({'locks': [dict(HELD, users=0)]}), 0,
     {'lock-idle': (A + ' has the lock of VDI vm', NOW - 50)}),
    ('locks held for long', found({'locks': [dict(HELD, since=5.0)]},
                                  {'locks': [dict(HELD, since=4.0)]}), 0,
     {'locks-held': ('2 VDIs are open for more than a day, the longest: vm '
                     '(%s), vm (%s)' % (B, A), 4.0)}),
)


CASES += (
    ('open to others', found({'exposed': ['NBD is open']},
                             {'exposed': ['NBD is open']}), 0,
     {'exposed': ('%s, %s: NBD is open' % (A, B), None)}),
)


class DiagnosisTest(unittest.TestCase):
    maxDiff = None

    def test_each(self):
        for title, facts, code, expected in CASES:
            with self.subTest(title):
                told = diagnosis.diagnose(facts)
                self.assertEqual(
                    {code: since for code, (_what, since)
                     in expected.items()},
                    {one.code: one.since for one in told.findings},
                    told.findings)
                for one in told.findings:
                    self.assertIn(expected[one.code][0], one.what)
                self.assertEqual(code, told.exit_code)

    def test_every_rule_is_tried(self):
        tried = {code for _title, _facts, _exit, expected in CASES
                 for code in expected} | {'no-answer'}
        self.assertEqual(set(remedies.REMEDIES), tried)

    def test_the_worst_comes_first(self):
        told = diagnosis.diagnose(found(*[dict(
            WAITING, store={'bad_objects': 1, 'is_full': True})] * 3))
        self.assertEqual(
            ['down', 'degraded', 'note'],
            list(dict.fromkeys(one.remedy.severity
                               for one in told.findings)))

    def test_who_knows_most_tells_of_the_cluster(self):
        told = diagnosis.diagnose(found(
            {'term': 1, 'sequence': 99, 'status': 'lapsed',
             'serving': False, 'view': view(1, *THREE)},
            {'view': view(7, *THREE)}, {'view': view(7, *THREE)}))
        self.assertEqual((7, 2, 3, A), (told.epoch, told.serving, told.known,
                                        told.leader))

    def test_nobody_answers(self):
        told = diagnosis.unanswered('connection refused')
        self.assertEqual((2, 'not serving'), (told.exit_code, told.verdict))
        self.assertIn('connection refused', told.findings[0].what)

    def test_many_names_are_cut(self):
        many = ['10.0.1.%d:7000' % number for number in range(30)]
        told = diagnosis.diagnose(found(*[dict(WAITING, missing=many)] * 3))
        self.assertIn('20 more', told.findings[0].what)


class RemediesTest(unittest.TestCase):
    def test_each_is_complete(self):
        for code, remedy in remedies.REMEDIES.items():
            with self.subTest(code):
                self.assertRegex(code, r'^[a-z]+(-[a-z]+)*$')
                self.assertIn(remedy.severity, ('note', 'degraded', 'down'))
                for words in (remedy.means, remedy.todo):
                    self.assertTrue(words[-1] in '.?', words)
                self.assertTrue(re.fullmatch('[a-z-]+', remedy.page))
