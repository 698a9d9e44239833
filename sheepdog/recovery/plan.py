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

"""In which order copies are made whole. Pure.

Doubtful copies come first: they are few, and clients use them. Then what is
not here at all: it is what redundancy lacks. So a sheep that was killed in
the middle of its recovery goes on where it was, for its store knows best
what has been moved. What is here already is compared behind, which moves
nothing where it is equal.
"""


def queue(doubtful, wanted, here):
    """:param doubtful: ids of objects that are wanted, too
    :param here: a set of the ids of all that have a copy here
    :returns: a list to take from the end of
    """
    first = dict.fromkeys(doubtful)
    absent, present = [], []
    for oid in wanted:
        if oid not in first:
            (present if oid in here else absent).append(oid)
    return [*reversed(present), *reversed(absent), *reversed(first)]
