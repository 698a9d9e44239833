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

"""Can a node go now? What would be lost, or could not be used, without it.

Pure: from what all sheep say of themselves (``faces.native.facts``:
``collect`` and ``copies``) to an answer. Where something is not known, the
answer is not yes: a copy counts as whole only if its own sheep says so.
"""

import base64
import collections
import typing

from sheepdog.cmd import words
from sheepdog.faces.native import facts as facts_module
from sheepdog.model import ids
from sheepdog.model import view as view_model
from sheepdog.placement import redundancy
from sheepdog.placement import ring as ring_module

YES, NO, UNKNOWN = 0, 1, 2
"""Exit codes."""

SHOWN_MAX = 5

_TRANSIENT = ('node-silent', 'unsettled')
"""Reasons for which nothing can be said at all."""


class Remark(typing.NamedTuple):
    code: str
    text: str


class Answer(typing.NamedTuple):
    """``against``: why it cannot go now; ``effects``: what it is good to
    know if it goes. ``counts``: objects by what would become of them."""

    node: str
    against: list
    effects: list
    counts: dict

    @property
    def exit_code(self) -> int:
        if not self.against:
            return YES
        if any(one.code in _TRANSIENT for one in self.against):
            return UNKNOWN
        return NO

    @property
    def verdict(self) -> str:
        return {YES: 'yes', NO: 'no', UNKNOWN: 'cannot tell'}[self.exit_code]


class UnknownNode(Exception):
    pass


def find(facts: list, name: str) -> str:
    """The address of the node that is meant by its number in ``node list``,
    its address, or its host.

    :raises UnknownNode: none, or several
    """
    known = [one['address'] for one in facts]
    members = [words.address(member) for member in _view(facts)['members']]
    if name.isdigit() and int(name) < len(members):
        return members[int(name)]
    for one in facts:
        # Who has just gone may be waited for.
        before = one.get('answer', {}).get('before') or {'members': ()}
        members += map(words.address, before['members'])
    known += [one for one in dict.fromkeys(members) if one not in known]
    found = [one for one in known
             if name in (one, one.rpartition(':')[0])]
    if len(found) != 1:
        raise UnknownNode('%s node is %s; known are %s' % (
            'more than one' if found else 'no', name, ', '.join(known)))
    return found[0]


def judge(facts: list, copies: list, node: str,
          ignore_clients: bool = False) -> Answer:
    """
    :param facts: of all sheep; at least one has answered
    :param copies: of all sheep, asked for at the same time
    :param node: the address of who would go
    """
    return _Case(facts, copies, node, ignore_clients).answer()


class _Case:
    def __init__(self, facts, copies, node, ignore_clients):
        self.node = node
        self.ignore_clients = ignore_clients
        self.facts = {one['address']: one['answer'] for one in facts
                      if 'answer' in one}
        self.copies = {one['address']: one['answer'] for one in copies
                       if 'answer' in one}
        view = _view(facts)
        self.epoch = view['epoch']
        self.members = {words.address(member): member
                        for member in view['members']}
        self.settled_copies = max(
            [one['copies'] for one in self.facts.values()] + [0])
        self.held = 1
        self.against, self.effects, self.counts = [], [], {}

    def answer(self) -> Answer:
        self._service()
        self._waited_for()
        if self.node in self.members and not self.against:
            self._answers()
            self._use()
            self._redundancy()
        return Answer(self.node, self.against, self.effects, self.counts)

    def _no(self, code, text, *values):
        self.against.append(Remark(code, text % values))

    def _note(self, code, text, *values):
        self.effects.append(Remark(code, text % values))

    # -- the cluster ----------------------------------------------------

    def _service(self):
        serving = [address for address, one in self.facts.items()
                   if one['status'] == 'ok' and one['serving']]
        if not serving:
            self._no('not-serving', 'the cluster serves nothing just now, '
                     'and may wait for this node: see status --why')
        elif self.node not in self.members:
            self._note('no-member', 'it is not in the cluster')
        elif not any(member['vnodes'] for address, member
                     in self.members.items() if address != self.node):
            self._no('last-node', 'no other node keeps objects')

    def _waited_for(self):
        for address, one in self.facts.items():
            recovery = one['recovery']
            reasons = recovery['waiting'] + [
                reason for reason in [recovery['obstacle']] if reason]
            for reason in reasons:
                if reason['is_untold'] and self.node in reason['reason']:
                    self._no('waited-for', '%s waits for it: %s', address,
                             reason['reason'])

    def _answers(self):
        """Who does not answer counts for nothing; this one must."""
        for address in self.members:
            facts, copies = self.facts.get(address), self.copies.get(address)
            if address == self.node and (facts is None or copies is None):
                self._no('node-silent', '%s does not answer: what it has and '
                         'who uses it cannot be told', address)
            elif facts is None or copies is None:
                self._note('silent', '%s does not answer: its copies are '
                           'not counted', address)
            elif copies['epoch'] != self.epoch or not copies['is_settled']:
                self._no('unsettled', 'the members change just now (%s)',
                         address)

    # -- who uses it ----------------------------------------------------

    def _use(self):
        facts = self.facts.get(self.node)
        if facts is None:
            return
        clients = facts['clients']
        if clients:
            tell = self._note if self.ignore_clients else self._no
            tell('clients', '%s through it: %s', words.count(
                len(clients), 'client uses VDIs', 'clients use VDIs'),
                words.some(('%s (%s, %s)' % (name, kind, address)
                            for kind, address, name in clients), SHOWN_MAX))
        used = {client[2] for client in clients}
        idle = [lock['name'] for lock in facts['locks']
                if lock['name'] not in used]
        if idle:
            self._note('locks', 'it has %s, freed when it goes: %s',
                       words.count(len(idle), 'more lock'),
                       words.some(idle, SHOWN_MAX))
        if facts['is_leader']:
            self._note('leads', 'it leads the cluster; another node does '
                       'when it goes, within the TTL at the latest')

    # -- redundancy -----------------------------------------------------

    def _redundancy(self):
        busy = [address for address, one in self.facts.items()
                if one['recovery']['is_running'] and address in self.members]
        if busy:
            self._note('recovering', 'recovery runs on %s',
                       words.some(busy, SHOWN_MAX))
        told = [one['recovery']['grace'] for one in self.facts.values()
                if one['recovery'].get('grace')]
        if told:
            self._note('postponed', 'recovery of what %s held is postponed, '
                       'as it may come back; it begins at once if this node '
                       'goes, too', words.some(sorted(
                           {name for one in told for name in one['nodes']}),
                           SHOWN_MAX))
        holders, wanted, needed = self._holders()
        zones = {member['zone'] for member in self.members.values()
                 if member['vnodes']}
        counts = self.counts = {
            'objects': len(holders), 'held': 0, 'below_now': 0,
            'below_after': 0, 'one_left': 0, 'none_left': 0}
        lost = []
        leaving = []
        for oid, whole in holders.items():
            full = min(wanted(oid), len(zones))
            left = len(whole) - (self.node in whole)
            counts['below_now'] += len(whole) < full
            if self.node not in whole:
                continue
            counts['held'] += 1
            counts['below_after'] += left < full
            counts['one_left'] += left == needed(oid) < full
            leaving.append(oid)
            if left < needed(oid):
                lost.append(oid)
        counts['none_left'] = len(lost)
        if lost:
            self._no('last-copies', '%s would have no whole copy left, or '
                     'too few strips: %s',
                     words.count(len(lost), 'object'),
                     words.some(map(ids.hex_oid, sorted(lost)), SHOWN_MAX))
        if counts['one_left']:
            self._note('one-left', '%s would have one whole copy left, or '
                       'just enough strips',
                       words.count(counts['one_left'], 'object'))
        if counts['below_after']:
            self._note('fewer-copies', '%s would have fewer copies than '
                       'wanted', words.count(counts['below_after'], 'object'))
        self._room(leaving, holders, wanted)

    def _holders(self):
        """({object: addresses with a whole copy, or strip}, copies wanted by
        object, copies needed by object). Where no copy is whole, those that
        reach furthest are what there is; where too few strips are, all that
        there are."""
        whole, partial = {}, {}
        owners, inodes = {}, {}
        for address, answer in self.copies.items():
            if address not in self.members:
                continue
            owners.update(answer['owners'])
            inodes.update(answer['inodes'])
            clean = base64.b64decode(answer['whole'])
            for oid, in facts_module.WHOLE.iter_unpack(clean):
                whole.setdefault(oid, set()).add(address)
            other = base64.b64decode(answer['partial'])
            for oid, reach in facts_module.PARTIAL.iter_unpack(other):
                partial.setdefault(oid, []).append((reach, address))
            if address == self.node:
                self.held = max(1, len(clean) // facts_module.WHOLE.size
                                + len(other) // facts_module.PARTIAL.size)

        def policy(oid):
            return owners.get('%06x' % ids.owner_in(oid),
                              (self.settled_copies, 0))

        def wanted(oid):
            if ids.is_whole(oid):
                return inodes.get('%06x' % ids.vdi_of(oid),
                                  self.settled_copies)
            return policy(oid)[0]

        def needed(oid):
            if ids.is_whole(oid):
                return 1
            return redundancy.zones_needed(*policy(oid))

        for oid, found in partial.items():
            known = whole.setdefault(oid, set())
            if len(known) < needed(oid):
                furthest = max(found)[0] if needed(oid) == 1 else 0
                known.update(address for reach, address in found
                             if reach >= furthest)

        return whole, wanted, needed

    def _room(self, leaving, holders, wanted):
        """Have the others the zones, and the space, for its copies?"""
        left = [member for address, member in self.members.items()
                if address != self.node]
        zones = {member['zone'] for member in left if member['vnodes']}
        if self.settled_copies > len(zones):
            self._note('few-zones', 'the nodes that stay are in %s, for %d '
                       'copies: no new ones are made until it is back',
                       words.count(len(zones), 'zone'),
                       self.settled_copies)
        if not zones or not leaving or self.node not in self.facts:
            return
        size = self.facts[self.node]['store']['used'] // self.held + 1
        ring = ring_module.Ring(view_model.View(
            self.epoch, 0, 0.0, tuple(map(_member, left))))
        more = collections.Counter()
        for oid in leaving:
            for place in ring.targets(oid, wanted(oid)):
                address = words.address(left[place])
                if address not in holders[oid]:
                    more[address] += 1
        for address, count in sorted(more.items()):
            if address not in self.facts:
                continue  # It is told already that this one is silent.
            free = self.facts[address]['store']['free']
            if count * size > free:
                self._no('no-space', '%s would have to take %d objects (about '
                         '%d MiB) and has %d MiB free', address, count,
                         count * size >> 20, free >> 20)


def _view(facts):
    """The newest that somebody knows."""
    views = [one['answer']['view'] for one in facts
             if 'answer' in one and one['answer']['view']]
    return max(views, key=lambda view: (view['epoch'], view['time']),
               default={'epoch': 0, 'members': []})


def _member(fields) -> view_model.Member:
    return view_model.Member.from_dict(fields)
