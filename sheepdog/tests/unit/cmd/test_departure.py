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

"""Tests of sheepdog.cmd.departure."""

import base64
import copy
import unittest

from sheepdog.cmd import departure
from sheepdog.faces.native import facts as facts_module
from sheepdog.model import ids
from sheepdog.tests.unit.cmd import test_diagnosis as samples

A, B, C = samples.A, samples.B, samples.C
VM = 0xabcdef << 32
OTHER = 0x123456 << 32
GIB = 1 << 30
ROOM = {'store': {'total': 10 * GIB, 'used': GIB, 'free': 9 * GIB}}


def copies(whole='', partial=(), **changes):
    """``whole``: numbers of objects, ``partial``: (number, reach)."""
    return dict({
        'incarnation': '', 'epoch': 2, 'term': 1, 'is_settled': True,
        'owners': {'abcdef': [3, 0], '123456': [2, 0]},
        'inodes': {'abcdef': 3, '123456': 2},
        'whole': base64.b64encode(b''.join(
            facts_module.WHOLE.pack(VM + int(number))
            for number in whole)).decode(),
        'partial': base64.b64encode(b''.join(
            facts_module.PARTIAL.pack(VM + number, reach)
            for number, reach in partial)).decode()}, **changes)


ALL = [copies('1234')] * 3
TWO_COPIES = [dict(one, owners={'abcdef': [2, 0]}) for one in (
    copies('12'), copies('23'), copies('13'))]
UNTOLD = dict(samples.UNTOLD, reason=samples.UNTOLD['reason'].replace(
    '10.0.0.9:7000', A))
CLIENT = {'clients': [['nbd', '10.1.1.1:99', 'vm']], 'locks': [samples.HELD]}
LEADS = ['leads']
# Three copies in three zones: while one is away, there are but two.
THREE = ['fewer-copies', 'few-zones']

CASES = (
    # what, changes of the facts, copies, answer, against, effects
    # (all of 10.0.0.2:7000)
    ('three whole copies of each', [{}, {}, {}], ALL, 'yes', [], THREE),
    ('it leads', [{}, {'is_leader': True}, {}], ALL, 'yes', [],
     LEADS + THREE),
    ('it is a gateway', [{}, {}, {}], [copies('12'), copies(), copies('12')],
     'yes', [], ['few-zones']),
    ('two copies, the others whole', [{}, {}, {}], TWO_COPIES, 'yes', [],
     ['one-left'] + THREE),
    ('it has the only whole copy of one',
     [{'recovery': {'is_running': True, 'done': 1, 'total': 2}}, {}, {}],
     [copies('1', [(2, 1)]), copies('12'), copies('1', [(2, 1)])],
     'no', ['last-copies'], ['recovering'] + THREE),
    ('another has the only whole copy', [{}, {}, {}],
     [copies('12'), copies('1', [(2, 1)]), copies('1', [(2, 1)])],
     'yes', [], THREE),
    ('no copy is whole, its own reaches furthest', [{}, {}, {}],
     [copies('', [(1, 3)]), copies('', [(1, 4)]), copies('', [(1, 3)])],
     'no', ['last-copies'], THREE),
    ('no copy is whole, several reach as far', [{}, {}, {}],
     [copies('', [(1, 4)]), copies('', [(1, 4)]), copies('', [(1, 3)])],
     'yes', [], ['one-left'] + THREE),
    ('recovery is done for all that it has',
     [{'recovery': {'is_running': True, 'done': 1, 'total': 2}}, {}, {}],
     [copies('12'), copies('12'), copies('1')], 'yes', [],
     ['recovering', 'one-left'] + THREE),
    ('clients use it', [{}, CLIENT, {}], ALL, 'no', ['clients'], THREE),
    ('clients use another', [CLIENT, {}, {}], ALL, 'yes', [], THREE),
    ('it has a lock that nobody uses', [{}, {'locks': [samples.HELD]}, {}],
     ALL, 'yes', [], ['locks'] + THREE),
    ('it does not answer', [{}, 'gone', {}], ALL, 'cannot tell',
     ['node-silent'], THREE),
    ('its copies are not told', [{}, {}, {}],
     [copies('1'), 'broken', copies('1')], 'cannot tell', ['node-silent'],
     ['few-zones']),
    ('another does not answer, a third has all', [{}, {}, 'gone'],
     [copies('12'), copies('12'), 'gone'], 'yes', [],
     ['silent', 'one-left'] + THREE),
    ('another does not answer, and may have the only other copy',
     [{}, {}, 'gone'], [copies('1'), copies('12'), 'gone'], 'no',
     ['last-copies'], ['silent', 'one-left'] + THREE),
    ('the members change', [{}, {}, {}],
     [copies('1'), copies('1'), copies('1', epoch=3)], 'cannot tell',
     ['unsettled'], THREE),
    ('a sheep does not serve just now', [{}, {}, {}],
     [copies('1'), copies('1'), copies('1', is_settled=False)],
     'cannot tell', ['unsettled'], THREE),
    ('nothing is served', [samples.WAITING] * 3, ALL, 'no', ['not-serving'],
     []),
)


def given(all_facts, all_copies):
    entries = samples.found(*[
        one if isinstance(one, str) else dict(copy.deepcopy(ROOM), **one)
        for one in all_facts])
    held = []
    for entry, one in zip(entries, all_copies):
        told = {'address': entry['address'], 'node': entry['node']}
        told['error' if isinstance(one, str) else 'answer'] = one
        held.append(told)
    return entries, held


class JudgeTest(unittest.TestCase):
    maxDiff = None

    def test_each(self):
        for title, facts, held, verdict, against, effects in CASES:
            with self.subTest(title):
                answer = departure.judge(*given(facts, held), B)
                self.assertEqual(
                    (verdict, against), (answer.verdict, [
                        one.code for one in answer.against]), answer)
                self.assertEqual(effects, [
                    one.code for one in answer.effects], answer)

    def counts(self, held, **options):
        return departure.judge(*given([{}, {}, {}], held), B,
                               **options).counts

    def test_counts(self):
        self.assertEqual(
            {'objects': 4, 'held': 3, 'below_now': 3, 'below_after': 3,
             'one_left': 1, 'none_left': 1},
            self.counts([copies('12'), copies('123'),
                         copies('14', [(3, 1)])]))
        self.assertEqual(
            {'objects': 0, 'held': 0, 'below_now': 0, 'below_after': 0,
             'one_left': 0, 'none_left': 0}, self.counts([copies()] * 3))

    def coded(self, *held):
        return departure.judge(*given([{}, {}, {}], [
            dict(one, owners={'abcdef': [3, 0x11]}, inodes={'abcdef': 2})
            for one in held]), B)

    def test_strips(self):
        # Of 2:1: two of three must be there.
        answer = self.coded(copies('12'), copies('1'), copies('12'))
        self.assertEqual('yes', answer.verdict)
        self.assertEqual(1, answer.counts['one_left'])
        answer = self.coded(copies('1'), copies('1'), copies())
        self.assertEqual(('no', 1), (answer.verdict,
                                     answer.counts['none_left']))
        # Not settled: what is there may be needed, whatever it reaches.
        for reach in 3, 4:
            answer = self.coded(copies('1'), copies('', [(1, reach)]),
                                copies())
            self.assertEqual('no', answer.verdict)
        # The inode is kept in two copies, of which one will do.
        answer = self.coded(*(copies('', [(ids.VDI_BIT, 1)]) for _ in 'abc'))
        self.assertEqual('yes', answer.verdict)

    def test_clients_that_do_not_count(self):
        answer = departure.judge(*given([{}, CLIENT, {}], ALL), B, True)
        self.assertEqual('yes', answer.verdict)
        self.assertIn('vm (nbd, 10.1.1.1:99)', answer.effects[0].text)

    def test_the_last_node(self):
        alone = {'view': samples.view(2, samples.member(2))}
        answer = departure.judge(*given([alone] * 3, ALL), B)
        self.assertEqual(['last-node'], [one.code for one in answer.against])
        gateway = {'view': samples.view(2, samples.member(1, vnodes=0),
                                        samples.member(2))}
        answer = departure.judge(*given([gateway] * 3, ALL), B)
        self.assertEqual(['last-node'], [one.code for one in answer.against])

    def test_one_that_is_no_member(self):
        out = {'view': samples.view(2, samples.member(1), samples.member(3))}
        answer = departure.judge(*given([out] * 3, ALL), B)
        self.assertEqual(('yes', ['no-member']), (
            answer.verdict, [one.code for one in answer.effects]))
        answer = departure.judge(*given([dict(out, recovery={
            'waiting': [dict(UNTOLD, reason='may be known only to ' + B)]}),
            out, out], ALL), B)
        self.assertEqual(['waited-for'], [one.code for one
                                          in answer.against])

    def room(self, free):
        """Four nodes, two copies: what the second has goes elsewhere."""
        four = samples.view(2, *[samples.member(n) for n in range(1, 5)])
        store = {'total': 10 * GIB, 'used': GIB, 'free': free}
        facts = samples.found(*[{'view': four, 'store': store,
                                 'copies': 2}] * 3)
        facts.append({'address': '10.0.0.4:7000', 'node': 'n4',
                      'answer': dict(facts[0]['answer'],
                                     address='10.0.0.4:7000')})
        held = [{'address': entry['address'], 'node': entry['node'],
                 'answer': dict(copies('' if number in (2, 3)
                                       else '123456789'),
                                vdis={'abcdef': 2})}
                for number, entry in enumerate(facts)]
        return departure.judge(facts, held, B)

    def test_space(self):
        self.assertEqual('yes', self.room(9 * GIB).verdict)
        answer = self.room(GIB // 100)
        self.assertEqual({'no-space'}, {one.code for one in answer.against})
        # Whoever has a copy already need not take one.
        self.assertNotIn(A, ' '.join(one.text for one in answer.against))


class FindTest(unittest.TestCase):
    def test_names(self):
        facts = samples.found()
        for name in (B, '10.0.0.2', '1'):
            self.assertEqual(B, departure.find(facts, name))

    def test_one_that_does_not_answer(self):
        facts = samples.found({}, 'gone')
        self.assertEqual(B, departure.find(facts, '1'))
        self.assertEqual(B, departure.find(facts[:1], '10.0.0.2'))

    def test_one_that_has_just_gone(self):
        now = samples.view(3, samples.member(1), samples.member(3))
        facts = samples.found({'view': now}, 'gone', {'view': now})
        del facts[1]
        self.assertEqual(B, departure.find(facts, B))
        self.assertRaises(departure.UnknownNode, departure.find, facts, '2')

    def test_none_and_several(self):
        facts = samples.found()
        for name in ('3', '10.0.0.9', 'x'):
            self.assertRaises(departure.UnknownNode, departure.find, facts,
                              name)
        facts.append({'address': '10.0.0.2:7001', 'node': 'n9'})
        with self.assertRaisesRegex(departure.UnknownNode, 'more than one'):
            departure.find(facts, '10.0.0.2')
