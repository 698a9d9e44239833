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

"""VDIs with branches (see ``branches``), from the beginning of a phase to its
end: when all is at rest each snapshot and clone is looked at whole; then all
are deleted, and what they used must come free.
"""

import collections
import os
import threading
import time

import numpy

from sheepdog.model import ids
from sheepdog.model import inode
from sheepdog.placement import redundancy
from sheepdog.tests.functional import ordeal
from sheepdog.tests.moments import cut
from sheepdog.tests.thrash import branches

POLICIES = '', '4:2'
"""'': the cluster's own."""
GONE_SECONDS = 240.0
SHOWN_MAX = 5
STORY_MAX = 60


class Family:
    """Two VDIs and all that comes from them.

    :param files: function: all files of objects that are theirs (of VDIs
        that come and go otherwise there are none)
    """

    def __init__(self, cluster, record, directory, files, seed, phase):
        self.cluster = cluster
        self._files = files
        self._lock = threading.Lock()
        self._story = collections.deque(maxlen=10000)
        self._log = directory / ('branches-%d.log' % phase)
        self.guests = []
        for number, policy in enumerate(POLICIES, 1):
            name = 'branched-%d-%d' % (phase, number)
            cluster.create(name, branches.SIZE_BYTES,
                           block_size_shift=branches.SHIFT,
                           **redundancy.parse(policy)._asdict()
                           if policy else {})
            self.guests.append(branches.Growing(
                cluster, name, directory, '%s %s' % (seed, name)))
        self.operator = branches.Operator(
            'operator %d' % phase, cluster, record, self.guests,
            '%s operator %d' % (seed, phase), self.tell)

    @property
    def users(self) -> list:
        return [*self.guests, self.operator]

    def tell(self, line):
        with self._lock, open(self._log, 'a') as file:
            print(line, file=file)
            self._story.append(line)

    def judge(self) -> str:
        """At rest. Returns what there is to say.

        :raises Failure:
        """
        with self.cluster.client() as client:
            self._check_names(client)
            for made in self.operator.made:
                if made.is_there:
                    self._check(made, branches.look(
                        client, made.name, made.tag, made.moment.guest))
            self._judge_moments()
            for guest in self.guests:
                now = time.monotonic()
                found = branches.look(client, guest.name, '', guest)
                self._complain(guest.writes.judge(found, now, cut.NEVER),
                               guest.name)
        return 'branches: %d of %d snapshots and clones are as they were' % (
            sum(bool(made.is_there) for made in self.operator.made),
            len(self.operator.made))

    def _check_names(self, client):
        """What was answered holds; what was not has happened or has not."""
        listed = {(vdi['name'], vdi['tag']) for vdi in client.vdis.list()
                  if vdi['name'].startswith(('branched-', 'clone-'))}
        known = {(made.name, made.tag): made for made in self.operator.made}
        known.update({(guest.name, ''): None for guest in self.guests})
        for key in sorted(listed - known.keys()):
            self._complain('nobody has made it', '%s@%s' % key)
        for key, made in known.items():
            is_there = key in listed
            if made is None or made.is_there is None:
                continue
            if made.is_there != is_there:
                self._complain('it is there' if is_there else 'it is gone',
                               str(made))
        for group in self.operator.groups:
            self._check_group([made for made in self.operator.made
                               if made.moment in group and made.name
                               == made.moment.guest.name], listed)
        for made in self.operator.made:
            made.is_there = (made.name, made.tag) in listed

    def _check_group(self, group, listed):
        found = {(made.name, made.tag) in listed for made in group
                 if made.moment.answered == cut.NEVER}
        if len(found) > 1:
            self._complain('not all of the group are there', str(group[0]))

    def _check(self, made, found):
        try:
            made.compare(found)
        except ordeal.Failure as exc:
            self._complain(str(exc), str(made))

    def _judge_moments(self):
        """Those that were there first are judged first: what they held none
        may lack that was made later."""
        for group in sorted(self.operator.groups,
                            key=lambda group: group[0].answered):
            asked, answered = group[0].asked, group[0].answered
            self._complain(cut.judge(
                [(moment.guest.writes, moment.found) for moment in group],
                asked, answered), next(
                    str(made) for made in self.operator.made
                    if made.moment is group[0]))
            for moment in group:
                moment.guest.writes.was_seen(moment.found, answered)

    def _complain(self, wrong, what):
        """:raises Failure: there is something wrong"""
        if wrong:
            with self._lock:
                lines = [line for line in self._story
                         if what.split('@')[0] in line][-STORY_MAX:]
            raise ordeal.Failure('%s: %s\n%s' % (what, wrong,
                                                 '\n'.join(lines)))

    # -- space ----------------------------------------------------------

    def give_back(self):
        """Delete all, in any order; what it used must come free.

        :raises Failure:
        """
        names = [guest.name for guest in self.guests]
        made = [one for one in self.operator.made if one.is_there]
        self.operator.chance.shuffle(made)
        with self.cluster.client() as client:
            for one in made:
                client.vdis.delete(one.name, one.tag)
            ordeal.wait(
                lambda: not self._unnamed(client), GONE_SECONDS, lambda: (
                    'objects of deleted snapshots and clones to be empty: %s'
                    % self._unnamed(client)))
            for name in names:
                client.vdis.delete(name)
        ordeal.wait(lambda: not self._left(), GONE_SECONDS, lambda: (
            'objects of %s to go: %s' % (names, self._left())))

    def _unnamed(self, client):
        """Objects with content that neither of the two VDIs names."""
        named = set()
        for guest in self.guests:
            named |= self._named(client, guest.name)
        return sorted({path.name for path in self._files()
                       if path.name[0] == '0' and _has_content(path)
                       and path.name[:16] not in named})[:SHOWN_MAX]

    def _named(self, client, name):
        """Names of the objects of a VDI; what the list says of them is
        true."""
        (vdi,) = client.vdis.list(name)
        count = -(-vdi['size'] >> vdi['block_size_shift'])
        owners = numpy.frombuffer(b''.join(client.vdis.inode(
            name, offset=inode.MAP_OFFSET,
            size=count * inode.MAP_ENTRY_BYTES)), '<u4')
        own = numpy.count_nonzero(owners & ids.VDI_ID_MASK == vdi['vdi_id'])
        for key, wanted in (('used', own), (
                'shared', numpy.count_nonzero(owners) - own)):
            if vdi[key] != int(wanted) << vdi['block_size_shift']:
                self._complain('%s is %d, not of %d objects' % (
                    key, vdi[key], wanted), name)
        return {'%016x' % ids.data_oid(int(owner), index)
                for index, owner in enumerate(owners) if owner}

    def _left(self):
        return sorted({path.name for path in self._files()})[:SHOWN_MAX]


def _has_content(path):
    """(Behind it there are checksums, and attributes may take a block.)"""
    end = 1 << branches.SHIFT
    if '_' in path.name:
        end //= redundancy.strips_of(redundancy.parse(
            POLICIES[-1]).copy_policy)[0]
    try:
        with open(path, 'rb') as file:
            return os.lseek(file.fileno(), 0, os.SEEK_DATA) < end
    except OSError:
        # Nothing at all; or it has just gone.
        return False
