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


async def others(cluster, links, view, needs_all):
    """Ids of the objects of every other member of the view: one sequence
    for each that answers.

    :param needs_all: one that does not answer is an error; else it is left
        out
    :raises SheepdogError: it does not answer
    """
    answers = await asyncio.gather(
        *(links.data(member).call(wire.LIST, epoch=view.epoch,
                                  timeout=LIST_SECONDS)
          for member in view.members
          if member.incarnation != cluster.incarnation),
        return_exceptions=True)
    found = []
    for answer in answers:
        if isinstance(answer, errors.SheepdogError) and not needs_all:
            continue
        if isinstance(answer, BaseException):
            raise answer
        found.append(answers_module.unpack_list(answer[2]))
    return found
