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

"""Which objects the other members hold."""

import asyncio

from sheepdog.model import errors
from sheepdog.peer import answers as answers_module
from sheepdog.wire import peer as wire

LIST_SECONDS = 30.0
AT_ONCE = 64
"""Members that are asked at the same time."""


async def others(cluster, links, view, needs_all, copies=0,
                 is_now=False):
    """Ids of the objects of every other member of the view: one array
    (uint64) for each that answers.

    :param needs_all: one that does not answer is an error; else it is left
        out
    :param copies: only of those of which we are a target, if no object has
        more copies; 0: of all. (A sheep of the version before always tells
        of all.)
    :param is_now: what was told a moment ago to somebody else will not do
    :raises SheepdogError: it does not answer
    """
    members = [member for member in view.members
               if member.incarnation != cluster.incarnation]
    found = []
    for start in range(0, len(members), AT_ONCE):
        answers = await asyncio.gather(
            *(links.data(member).call(wire.LIST, epoch=view.epoch,
                                      aux=copies, offset=int(is_now),
                                      timeout=LIST_SECONDS)
              for member in members[start:start + AT_ONCE]),
            return_exceptions=True)
        for answer in answers:
            if isinstance(answer, errors.SheepdogError) and not needs_all:
                continue
            if isinstance(answer, BaseException):
                raise answer
            found.append(answers_module.unpack_list(answer[2]))
    return found
