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

"""Room 3: an operation on an object becomes one on each of its copies.

``gateway`` is the room's face: write, read, zero, remove, flush, extents by
object id. ``routes`` says who orders an object and where its copies are;
``operation`` is one request on its way, ``turns`` its place among others,
``changes``, ``reads`` and ``flush`` lead it there; ``orders`` serves other
gateways whose objects this sheep orders.
"""
