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

"""What may be wrong with a cluster, and how the facts of its sheep show it.

Pure. ``RULES`` are functions from ``Facts`` to ``Finding``s; what each of
these means and what to do about it stands in ``remedies``, under its code.
"""

import typing

from sheepdog.cmd import remedies
from sheepdog.cmd import words
from sheepdog.model import sizes
from sheepdog.placement import headroom
from sheepdog.placement import redundancy

FULL_PERCENT = 85
"""From here on the loss of a node may fill the others."""

REFUSAL_SECONDS = 86400.0
LAPSE_SECONDS = 3600.0
CONTENTION_SECONDS = 600.0
HELD_SECONDS = 86400.0
"""How long such a thing is told of (the last: from when on)."""


class Finding(typing.NamedTuple):
    """``since`` is seconds since 1970, or None; ``nodes`` are the addresses
    that it is about."""

    code: str
    what: str
    since: typing.Optional[float] = None
    nodes: tuple = ()

    @property
    def remedy(self) -> remedies.Remedy:
        return remedies.REMEDIES[self.code]

    def to_dict(self) -> dict:
        remedy = self.remedy
        return {'code': self.code, 'severity': remedy.severity,
                'what': self.what, 'since': self.since,
                'nodes': list(self.nodes), 'means': remedy.means,
                'todo': remedy.todo, 'page': 'runbook/' + remedy.page}


class Facts:
    """``answers`` of those that answered, ``silent`` entries of the others;
    ``newest`` is the answer of who has seen most of what was decided.

    :param found: as ``faces.native.facts`` collects them, one entry for each
        sheep that is known: ``address``, ``node`` and ``answer``, or
        ``error``; at least one has answered
    """

    def __init__(self, found):
        self.answers = [one['answer'] for one in found if 'answer' in one]
        self.silent = [one for one in found if 'answer' not in one]
        self.serving = [one for one in self.answers
                        if one['status'] == 'ok' and one['serving']]
        self.newest = max(self.answers, key=lambda one: (
            one in self.serving, one['term'], one['sequence']))
        self.now = self.newest['now']
        self.missing = sorted({address for one in self.answers
                               for address in one['missing']})
        members = (self.newest['view'] or {'members': ()})['members']
        self.members = {words.address(member): member for member in members}
        # A dead one that left long ago is not known any more.
        self.known = {one['address'] for one in found} | set(self.members)
        self.addresses = {member['incarnation']: address
                          for address, member in self.members.items()}

    def with_status(self, *names):
        return [one for one in self.answers if one['status'] in names]

    def since(self, answers):
        return min(one['since'] for one in answers)


def _of(answers) -> tuple:
    return tuple(sorted(one['address'] for one in answers))


# -- what keeps the cluster from serving -----------------------------------

def _shutting_down(facts):
    down = facts.with_status('shutdown')
    if down and not facts.serving:
        yield Finding('shutting-down', 'the cluster shuts down',
                      facts.since(down), _of(down))


def _formatted(facts):
    waiting = facts.with_status('wait-format')
    if waiting and not facts.serving:
        yield Finding(
            'wait-format', 'the cluster waits to be formatted; %s there'
            % words.are(_of(waiting)), facts.since(waiting), _of(waiting))


def _cold_start(facts):
    waiting = [one for one in facts.with_status('wait-join')
               if one['missing']]
    if waiting and not facts.serving:
        epoch = facts.newest['view']['epoch'] if facts.newest['view'] else 0
        yield Finding(
            'wait-members', 'after a full stop, the cluster waits for %s, '
            'of epoch %d' % (words.some(facts.missing), epoch),
            facts.since(waiting), tuple(facts.missing))


def _coordination(facts):
    away = [one for one in facts.answers if one['problem']]
    if away:
        yield Finding(
            'coordination-away', '%s cannot use the coordination service: '
            '%s' % (words.some(_of(away)), away[0]['problem']),
            min(one['problem_since'] for one in away), _of(away))


def _leader(facts):
    # While coordination is away there is none either.
    if facts.serving and not any(
            one['leader'] or one['is_leader'] or one['problem']
            for one in facts.answers):
        yield Finding('no-leader', 'no sheep leads the cluster', None)


def _prepared(facts):
    frozen = facts.with_status('frozen')
    if frozen:
        silent = [one['address'] for one in facts.silent
                  if one['address'] not in facts.missing]
        what = 'epoch %d is prepared and not decided yet' % (
            max(one['prepared'] or 0 for one in frozen)
            or facts.newest['epoch'] + 1)
        if silent:
            what += '; %s not answer' % words.do(silent)
        yield Finding('epoch-prepared', what, facts.since(frozen),
                      _of(frozen))


def _joining(facts):
    waiting = [one for one in facts.with_status('wait-join', 'starting')
               if not one['missing'] and not one['problem']]
    # The others wait for members, or for a format, not this one.
    if waiting and (facts.serving or not facts.with_status(
            'wait-join', 'wait-format', 'frozen', 'shutdown', 'lapsed')
            or len(waiting) == len(facts.answers)):
        yield Finding(
            'joining', '%s not let in yet: %s' % (
                words.are(_of(waiting)),
                waiting[0]['reason'] or 'no reason told'),
            facts.since(waiting), _of(waiting))


# -- what is wrong with single nodes ---------------------------------------

def _lapsed(facts):
    for one in facts.with_status('lapsed'):
        yield Finding('node-lapsed', '%s has lost its lease: %s' % (
            one['address'], one['reason']), one['since'], (one['address'],))
    for one in facts.answers:
        if one['status'] == 'ok' and one['lapsed']:
            since, reason = one['lapsed']
            if one['now'] - since < LAPSE_SECONDS:
                yield Finding(
                    'lapsed-lately', '%s lost its lease: %s' % (
                        one['address'], reason), since, (one['address'],))


def _refused(facts):
    told = {}
    for one in facts.answers:
        for refusal in one['refusals']:
            if one['now'] - refusal['since'] < REFUSAL_SECONDS:
                told[words.address(refusal)] = (refusal['since'],
                                                refusal['reason'])
        if one['status'] == 'refused':
            told[one['address']] = one['since'], one['reason']
    is_in = {one['address'] for one in facts.answers
             if one['status'] != 'refused'}
    for address, (since, reason) in sorted(told.items()):
        if address not in is_in:
            yield Finding('node-refused', '%s was not let into the cluster: '
                          '%s' % (address, reason), since, (address,))


def _unreachable(facts):
    told = {}
    for one in facts.answers:
        for address, reason in one['peers'].items():
            if reason and address not in facts.missing:
                told.setdefault(address, []).append((one['address'], reason))
    for one in facts.silent:
        if one['address'] not in facts.missing and (
                one['address'] in facts.members
                or any(one['address'] in other['live']
                       for other in facts.answers)):
            told.setdefault(one['address'], []).append(('', one['error']))
    for address, complaints in sorted(told.items()):
        callers = [caller for caller, _reason in complaints if caller]
        yield Finding(
            'node-unreachable', '%s cannot be reached%s: %s' % (
                address, ' by %s' % words.some(callers) if callers else '',
                complaints[0][1]), None, (address,))


# -- redundancy ------------------------------------------------------------

def _zones(facts):
    newest = facts.newest
    view, before = newest['view'], newest['before']
    if not facts.serving or not view or not newest['copies']:
        return
    zones = len({member['zone'] for member in view['members']
                 if member['vnodes']})
    here = {member['node'] for member in view['members']}
    gone = [words.address(member) for member
            in (before or {'members': ()})['members']
            if member['node'] not in here]
    is_strict = newest.get('strict')
    told = {}
    # (An older sheep tells the default only.)
    for copies, policy, count in newest.get('policies') or [
            [newest['copies'], 0, 0]]:
        if zones >= copies:
            continue
        code = 'few-zones'
        if zones < redundancy.zones_needed(copies, policy):
            code = 'no-zones'
        elif is_strict:
            code = 'strict-zones'
        told.setdefault(code, []).append(
            '%s have %d of %d %s' % (
                'objects' if not policy else 'objects of %s (%s)' % (
                    redundancy.text_of(copies, policy),
                    words.count(count, 'VDI')),
                zones, copies, redundancy.parts(policy)))
    for code, which in told.items():
        what = '%s%s: the nodes are in %s' % (
            'the cluster is strict and takes no writes; '
            if code == 'strict-zones' else '', ', '.join(which),
            words.count(zones, 'zone'))
        if gone:
            what += '; %s left with epoch %d' % (words.some(gone),
                                                 view['epoch'])
        yield Finding(code, what, view['time'], tuple(gone))


def _recovering(facts):
    busy = [one for one in facts.serving if one['recovery']['is_running']]
    if busy:
        done = sum(one['recovery']['done'] for one in busy)
        total = sum(one['recovery']['total'] for one in busy)
        yield Finding(
            'recovering', 'redundancy is being restored on %s: %d of %d '
            'objects are done' % (words.some(_of(busy)), done, total),
            facts.newest['view']['time'], _of(busy))


def _postponed(facts):
    idle = [one for one in facts.serving
            if one['recovery'].get('is_postponed')]
    if idle:
        yield Finding(
            'recovery-disabled', 'recovery is disabled, and would have '
            'something to do on %s' % words.some(_of(idle)),
            facts.newest['view']['time'], _of(idle))


def _grace(facts):
    """What absent nodes held is left as it is for a while."""
    told = [one['recovery']['grace'] for one in facts.serving
            if one['recovery'].get('grace')]
    if told:
        nodes = tuple(sorted({node for one in told for node in one['nodes']}))
        until = max(one['until'] for one in told)
        yield Finding(
            'recovery-postponed', 'recovery of what %s held is postponed '
            'for %s more, as it may come back' % (
                words.some(nodes), _duration(max(0, until - facts.now))),
            facts.newest['view']['time'], nodes)


def _duration(seconds):
    return '%d s' % seconds if seconds < 120 else '%d min' % (seconds // 60)


def _waiting_objects(facts):
    for one in facts.serving:
        recovery = one['recovery']
        for reason in recovery['waiting']:
            yield Finding(
                _waiting_code(reason),
                '%s on %s (%s for one) cannot be made whole yet: %s' % (
                    words.count(reason['count'], 'object'), one['address'],
                    reason['example'], reason['reason']),
                reason['since'], (one['address'],))
        obstacle = recovery['obstacle']
        if obstacle and not recovery['waiting']:
            yield Finding(
                _waiting_code(obstacle), 'recovery on %s waits: %s' % (
                    one['address'], obstacle['reason']), obstacle['since'],
                (one['address'],))


def _no_room(facts):
    for one in facts.serving:
        short = one['recovery'].get('no_room')
        if short:
            yield Finding(
                'recovery-no-room', 'recovery is not started on %s: %s' % (
                    one['address'], short['reason']), short['since'],
                (one['address'],))


def _turning(facts):
    for one in facts.serving:
        for vdi in one.get('turning', ()):
            yield Finding(
                'turning-waits',
                'VDI %s is not wholly turned into its new redundancy: %s (%s '
                'for one) cannot be copied by %s just now: %s' % (
                    vdi['name'], words.count(vdi['count'], 'object'),
                    vdi['example'], one['address'], vdi['reason']),
                vdi['since'], (one['address'],))


def _waiting_code(reason):
    return 'objects-missing' if reason['is_untold'] else 'recovery-waits'


# -- disks -----------------------------------------------------------------

def _disks(facts):
    for one in facts.answers:
        address, store = one['address'], one['store']
        if store['failure']:
            yield _failing(facts, one)
        if store['lost_disks']:
            yield Finding('disk-lost', '%s has given up %s' % (
                address, words.some(store['lost_disks'])), None, (address,))
        if store['is_full']:
            yield Finding(
                'disk-full', 'the disk of %s is full: %s are left, and %s '
                'are kept for deleting and recovery' % (
                    address, sizes.show_size(store['free']),
                    sizes.show_size(store.get('kept', 0))),
                None, (address,))
        elif store['total'] and (store['used'] * 100 // store['total']
                                 >= FULL_PERCENT):
            yield Finding('disk-filling', 'the disk of %s is %d %% full' % (
                address, store['used'] * 100 // store['total']), None,
                (address,))
        if store['irreparable']:
            yield Finding(
                'damage-irreparable', '%s: no copy is good in parts of %s'
                % (address, words.some(store['irreparable'])), None,
                (address,))
        if store['differing']:
            yield Finding(
                'copies-differ', 'the copies of %s differ, as %s has found'
                % (words.some(store['differing']), address), None,
                (address,))
        if store['quarantined']:
            yield Finding('quarantined', '%s in quarantine on %s' % (
                words.count(store['quarantined'], 'thing'), address), None,
                (address,))
        if store['bad_objects'] and not store['irreparable']:
            yield Finding('damaged-blocks', '%s with damaged blocks on %s' % (
                words.count(store['bad_objects'], 'object'), address), None,
                (address,))


def _failing(facts, one):
    """A disk that fails goes as soon as all others are whole: are they?"""
    address, failure = one['address'], one['store']['failure']
    waiting = {other['address']: other['recovery']['waiting'] or [
        dict(other['recovery']['obstacle'], count=0)]
        for other in facts.serving if other is not one
        and (other['recovery']['waiting'] or other['recovery']['obstacle'])}
    if one not in facts.serving or not waiting:
        return Finding('disk-failed', 'the disk of %s fails: %s' % (
            address, failure), None, (address,))
    reasons = [reason for found in waiting.values() for reason in found]
    count = sum(reason['count'] for reason in reasons)
    return Finding(
        'disk-needed', 'the disk of %s fails (%s), and is kept in use until '
        '%s whole%s' % (
            address, failure, words.are(sorted(waiting)),
            ': %s there cannot be made so' % words.count(count, 'object')
            if count else ''),
        min(reason['since'] for reason in reasons), (address,))


def _zone_room(facts):
    members = (facts.newest['view'] or {'members': ()})['members']
    if not facts.serving or not facts.newest['copies']:
        return
    stores = {one['address']: one['store'] for one in facts.answers}
    nodes = []
    for member in members:
        store = stores.get(words.address(member))
        if store is None:
            # Who is silent is told of; the rest would be a guess.
            return
        nodes.append(headroom.Node(
            words.address(member), member['zone'], member['vnodes'],
            store['used'], store['free'] - store.get('kept', 0)))
    lack = headroom.worst_lack(nodes, facts.newest['copies'])
    if lack is not None:
        yield Finding(
            'zone-room', 'there is no room for the loss of a zone: without '
            'zone %d, %s would be given about %s and has room for %s' % (
                lack.zone, lack.node, sizes.show_size(lack.needed),
                sizes.show_size(lack.room)), None, (lack.node,))


# -- clients ---------------------------------------------------------------

def _slow(facts):
    for one in facts.answers:
        slow = one['slow']
        if slow['count']:
            first = slow['requests'][0]
            yield Finding(
                'slow-requests', '%s through %s for more than %g s; the '
                'oldest: %s' % (
                    'one client waits' if slow['count'] == 1 else
                    '%d requests of clients wait' % slow['count'],
                    one['address'], slow['seconds'], first['text']),
                one['now'] - first['seconds'], (one['address'],))


def _laggards(facts):
    evicted = {node for node, _, _ in facts.newest['evicted']}
    for address, member in sorted(facts.members.items()):
        if (member['incarnation'] in facts.newest['laggards']
                and member['node'] not in evicted):
            yield Finding(
                'node-slow', '%s is slow: its disk, or what is asked of it'
                % address, None, (address,))
    for node, since, by_hand in facts.newest['evicted']:
        addresses = [address for address, member in facts.members.items()
                     if member['node'] == node] or [node]
        yield Finding(
            'node-evicted', '%s keeps no objects, %s' % (
                addresses[0], 'as an operator wanted' if by_hand
                else 'since it was slow'), since, tuple(addresses))


def _contended(facts):
    holders = {lock['vdi_id']: (one, lock) for one in facts.answers
               for lock in one['locks']}
    for one in facts.answers:
        for refused in one['refused_locks']:
            if one['now'] - refused['since'] > CONTENTION_SECONDS:
                continue
            holder, lock = holders.get(refused['vdi_id'], (None, None))
            who = holder['address'] if holder else words.some(
                facts.addresses.get(owner, owner)
                for owner in refused['owners'])
            what = 'VDI %s was refused to a client of %s: %s has it' % (
                refused['name'], one['address'], who)
            clients = [client[1] for client in (holder or {}).get(
                'clients', ()) if client[2] == refused['name']]
            if clients:
                what += ', for the client at %s' % words.some(clients)
            yield Finding('lock-contended', what, refused['since'],
                          (one['address'], who))


def _locks(facts):
    held = []
    for one in facts.answers:
        for lock in one['locks']:
            if not lock['users'] and one['status'] == 'ok':
                yield Finding('lock-idle', '%s has the lock of VDI %s, and '
                              'nobody uses it there' % (
                                  one['address'], lock['name']),
                              lock['since'], (one['address'],))
            elif lock['since'] and (one['now'] - lock['since']
                                    > HELD_SECONDS):
                held.append((lock['since'], lock['name'], one['address']))
    if held:
        held.sort()
        yield Finding(
            'locks-held', '%s open for more than a day, the longest: %s' % (
                '%d VDIs are' % len(held) if len(held) > 1
                else 'a VDI is', words.some('%s (%s)' % lock[1:]
                                            for lock in held)),
            held[0][0], tuple(sorted({lock[2] for lock in held})))


def _exposed(facts):
    told = {}
    for one in facts.answers:
        for text in one['exposed']:
            told.setdefault(text, []).append(one['address'])
    for text, addresses in told.items():
        addresses.sort()
        yield Finding('exposed', '%s: %s' % (words.some(addresses), text),
                      None, tuple(addresses))


RULES = (_shutting_down, _formatted, _cold_start, _coordination, _leader,
         _prepared, _joining, _lapsed, _refused, _unreachable, _zones,
         _recovering, _postponed, _grace, _waiting_objects, _turning,
         _no_room, _disks, _zone_room, _laggards, _slow, _contended, _locks,
         _exposed)
