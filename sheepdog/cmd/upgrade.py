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

"""A store that is not ours yet: of the C original, or half taken over."""

import json
import logging

from sheepdog.cmd import exits
from sheepdog.legacy import formats

LOG = logging.getLogger(__name__)

_HOW = ('see "Coming from the original" in the documentation: dog upgrade '
        'scan, plan, adopt')


def check(settings) -> None:
    """Before anything is touched.

    :raises Stop: a sheep would do harm there
    """
    meta = settings.meta
    if formats.is_config(_read(meta + '/config')):
        raise exits.Stop(
            '%s is a store of the original Sheepdog, which stays as it is; '
            'make a new one from it: %s' % (meta, _HOW), exits.SYSTEM)
    data = _read(meta + '/upgrade')
    if data and not settings.upgrade and not _is_done(data):
        raise exits.Stop(
            '%s was not taken over to its end: go on with -u, or with the '
            'same dog upgrade adopt' % meta, exits.SYSTEM)


def _is_done(data) -> bool:
    try:
        return json.loads(data)['is_done'] is True
    except (ValueError, TypeError, KeyError, RecursionError):
        # Who goes on says what is wrong with it.
        return False


def _read(path) -> bytes:
    """b'' where there is nothing to read: others say so better."""
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError:
        return b''


async def finish(settings) -> None:
    """What was begun in this store, if anything was.

    :raises Refused: it cannot be done
    """
    # Not above: a fork comes before what they bring.
    from sheepdog.legacy import adoption
    from sheepdog.world import real
    world = real.RealWorld()
    try:
        work = await adoption.Adoption.unfinished(world, settings.store)
        if work is not None:
            LOG.info('taking over what is missing from the original\'s store')
            outcome = await work.run()
            LOG.info('%d objects, %d of them written now', outcome.count,
                     outcome.moved)
    finally:
        await world.close()
