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

"""Real sheep under load and under all kinds of trouble, for as long as one
likes: no acknowledged write may be lost, no read may go back in time.

    python -m sheepdog.tests.thrash --minutes 60

What the simulator shows on virtual time, this shows on processes, sockets,
disks and coordination servers as they are. ``users`` put load on the VDIs of
``volumes`` through all sheep, ``faults`` has the trouble (with the disks of
``loops``), ``record`` remembers what was asked for and answered, ``run`` goes
through phases and judges, with ``strips`` also by the files. ``branches`` has
snapshots and clones made and used, ``family`` judges them.
"""
