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

"""VDIs as NBD exports.

``server`` listens and counts, ``session`` is one connection from greeting to
end, ``transmission`` its requests once an export is chosen, ``commands`` the
rare ones among these, ``exports`` the way from a name to a volume. It stands
on ``sheepdog.volume`` and on nothing else; the protocol itself is in
``sheepdog.wire.nbd*``.
"""

from sheepdog.faces.nbd.server import NbdFace
from sheepdog.faces.nbd.settings import NbdSettings

__all__ = ('NbdFace', 'NbdSettings')
