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

"""Objects on this node's disk: journal, object files, checksums, versions.

``store.Store`` is the room's face. Below it, the way of a write:
``writer`` (order, journalling, acknowledging) → ``journal`` (records,
segments) → ``objects`` (files with their checksum tables) → ``syncing``.
``checkpoint`` makes a full segment of the journal free again, ``replay``
brings the object files up to the journal at a start, ``adopting`` replaces a
whole object for recovery, ``layout`` guards the directory.
"""
