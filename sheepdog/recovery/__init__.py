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

"""Full redundancy again, after every change of the view.

``standing`` knows which of our copies may be trusted; ``choice`` (pure) says
which of several copies is the one to follow; ``mover`` makes one copy whole;
``recovery`` walks over all of them in the background and tells the cluster
when it is done: ``plan`` (pure) orders the queue, ``throttle`` bounds the
pace. An object that a client waits for goes first. ``scrub`` looks for damage
that nobody has met, ``compare`` for copies that differ. ``space`` and
``wiping`` remove what nobody needs: of deleted VDIs, of places elsewhere, of a
cluster that is no more.
"""
