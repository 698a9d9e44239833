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

import unittest

from sheepdog.cluster import messages
from sheepdog.cluster import roster
from sheepdog.cluster import takeover
from sheepdog.model import view as view_model
from sheepdog.tests.unit.cluster import test_roster


def view(*nodes):
    return view_model.View(2, 1, 0.0, roster.compose(
        [test_roster.info(node) for node in nodes], None, 0))


def prepared(term=1, attempt=1, sequence=6, created=7, members=None):
    return messages.Prepared(2, term, attempt, sequence, created, members)


def answer(node, position=(1, 5), standing=False, created=7, pending=None,
           epoch=1):
    return messages.Answer(node + '.1', standing, position, epoch, created,
                           pending, False)


class WarmTest(unittest.TestCase):
    def examine(self, *answers):
        found = takeover.examine(answers, 'b.1')
        self.assertIsInstance(found, takeover.Warm)
        return found

    def test_the_most_advanced_that_stands(self):
        found = self.examine(
            answer('a', standing=True), answer('b', (1, 6), standing=True),
            answer('c', (9, 9)))
        self.assertEqual('b.1', found.best.incarnation)
        self.assertEqual(['a.1', 'b.1'], [one.incarnation for one
                                          in found.standing])
        # A later term goes before more of an earlier one.
        found = self.examine(answer('a', (2, 3), standing=True),
                             answer('b', (1, 6), standing=True))
        self.assertEqual('a.1', found.best.incarnation)

    def test_ourselves_among_equals(self):
        found = self.examine(*(answer(node, standing=True)
                               for node in 'abc'))
        self.assertEqual('b.1', found.best.incarnation)

    def test_what_is_prepared(self):
        for held, wanted in (
                (prepared(), True),
                # Its place is taken: it was decided, or given up.
                (prepared(sequence=5), False),
                (prepared(term=0, sequence=9), False),
                # By a leader of whom we know nothing else.
                (prepared(term=2, sequence=5), True)):
            found = self.examine(answer('a', standing=True, pending=held),
                                 answer('b', standing=True))
            self.assertEqual((held, 'a.1') if wanted else (None, ''),
                             (found.prepared, found.holder))

    def test_the_last_attempt_counts(self):
        found = self.examine(
            answer('a', standing=True, pending=prepared(1, 2)),
            answer('b', standing=True, pending=prepared(2, 1)),
            answer('c', standing=True, pending=prepared(1, 3)),
            answer('d', pending=prepared(3, 1)))
        self.assertEqual('b.1', found.holder)


class ColdTest(unittest.TestCase):
    def test_blank(self):
        self.assertEqual([takeover.Cold(0, None, ())], takeover.examine(
            [answer('a', (0, 0), created=0, epoch=0)], 'a.1'))

    def test_clusters_apart(self):
        found = takeover.examine(
            [answer('a', (1, 5)), answer('b', (1, 6)),
             answer('c', (1, 9), created=8), answer('d', created=0),
             answer('e', (0, 0), 0, created=0, epoch=0,
                    pending=prepared(2, sequence=7))], 'a.1')
        self.assertEqual([7, 8], [group.created for group in found])
        self.assertEqual('b.1', found[0].best.incarnation)
        self.assertEqual('e.1', found[0].pending[0][1])
        self.assertEqual('c.1', found[1].best.incarnation)

    def test_whom_to_ask_about_a_prepared_epoch(self):
        held = prepared(members=view('a', 'b'))
        agreed = answer('a', pending=held)
        self.assertEqual(2, len(takeover.needed(held, [agreed])))
        self.assertEqual(2, len(takeover.needed(
            held, [agreed, answer('c')])), 'an outsider knows nothing')
        for later in (answer('b', pending=prepared(1, 2)),
                      answer('b', (1, 6))):
            self.assertEqual(2, len(takeover.needed(held, [agreed, later])))
        for earlier in (answer('b'), answer('b', pending=prepared(1, 0))):
            self.assertEqual((), takeover.needed(held, [agreed, earlier]))

    def test_missing(self):
        members = view('a', 'b', 'c').members
        self.assertEqual(['a', 'c'], [
            member.node for member
            in takeover.missing(members + members, ['b', 'x'])])
