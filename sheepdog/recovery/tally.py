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

"""What a look through copies has found: a round of the scrub, or a check
that an operator asked for."""

PROBLEMS_MAX = 100
"""Named; beyond that they are only counted."""

IRREPARABLE = 'irreparable'
DIFFERS = 'differs'
UNKNOWN = 'unknown'
UNCHECKED = 'unchecked'

KINDS = {
    IRREPARABLE: 'bad in blocks of which no copy is good',
    DIFFERS: 'the copies differ, and nothing tells which one is right',
    UNKNOWN: 'of no VDI that is known',
    UNCHECKED: 'could not be checked, or mended, now',
}
"""What is wrong with an object, in words."""


class Tally:
    """Counts of one sheep; times are seconds since 1970, ``ended`` 0 while
    it goes on. ``mended`` and ``settled`` are objects: bad blocks that are
    good again, differing copies that are equal again."""

    def __init__(self, began):
        self.began = began
        self.ended = 0.0
        self.total = 0
        self.objects = 0
        self.bytes = 0
        self.bad_blocks = 0
        self.mended = 0
        self.settled = 0
        self.counts = dict.fromkeys(KINDS, 0)
        self.problems = []

    def add(self, kind, oid, detail):
        """:param oid: as text; ``detail``: which blocks, where, or why"""
        self.counts[kind] += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append({'kind': kind, 'object': oid,
                                  'detail': detail})

    def to_dict(self):
        return {'began': self.began, 'ended': self.ended,
                'total': self.total, 'objects': self.objects,
                'bytes': self.bytes, 'bad_blocks': self.bad_blocks,
                'mended': self.mended, 'settled': self.settled,
                'counts': dict(self.counts),
                'problems': list(self.problems)}
