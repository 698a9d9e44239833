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

"""Snapshots each second, of what guests write, while sheep are killed: a
short run of ``tests.moments``."""

import random

from sheepdog.tests.functional import case
from sheepdog.tests.moments import files
from sheepdog.tests.moments import run

SECONDS = 5.0


@case.needs('fio', 'qemu-nbd')
class MomentsTest(case.DirectoryCase):

    def test_each_snapshot_is_a_moment(self):
        kinds = ['verified', 'files' if files.is_possible() else 'numbered']
        story = []
        try:
            with run.Moments(random.SystemRandom().randrange(1 << 32),
                             ('3',), kinds, sheep=4,
                             tell=story.append) as moments:
                self.addOnException(lambda _: self.attach(
                    moments.cluster.logs()))
                moments.go_on(SECONDS)
                moments.judge()
        except BaseException as exc:
            exc.add_note('seed %d\n%s' % (moments.seed, '\n'.join(story)))
            raise
