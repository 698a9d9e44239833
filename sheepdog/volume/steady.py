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

"""Asking objects of a volume that another sheep may be turning.

It copies an object, then the map names the copy; from then on the copy is
written to, and the former object is as it was until it goes. So what
the former one says holds only if the map still names it afterwards.
"""

from sheepdog.model import errors


async def ask(look, question):
    """Awaits ``question(owner)`` about the object that the map names, and
    returns its answer (None: there is no object).

    :param look: coroutine function, returns the object's owner by the map of
        this moment (0: there is none)
    :raises NoObject: there is none, though the map names it
    """
    while True:
        owner = await look()
        if not owner:
            return None
        try:
            answer = await question(owner)
        except errors.NoObject:
            if await look() == owner:
                raise
            continue
        if await look() == owner:
            return answer
