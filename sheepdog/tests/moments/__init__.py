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

"""A snapshot each second of VDIs that are written, while sheep are killed:
is each of them one moment that there was?

    python -m sheepdog.tests.moments --minutes 1

``guests`` write as virtual machines do: with many writes under way
(``numbered``), by fio behind QEMU's block layer (``verified``), through a
file system (``files``). ``cut`` judges whether what a snapshot holds was there
at any one instant. ``run`` has the sheep, the snapshots and the troubles.
"""
