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

"""Many VDIs, long chains of snapshots, wide trees of clones: what they cost.

    python -m sheepdog.tests.scale --vdis 2000 --chain 500 --clones 500

Prints what was measured, and fails where a promise is not kept: all VDIs are
listed in two seconds, no process takes more than 300 MB, every snapshot has
what was written before it, a snapshot of a large VDI among many costs what
the first one did, and when all are deleted, in any order, all space is back.
"""
