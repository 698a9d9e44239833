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

"""What a sheep tells its operators unasked: one joined, a VDI was deleted.

``events`` says what is told; ``herald`` hears of it from the other rooms and
sees to it that each event of the cluster is sent by one sheep; a ``Sink``
takes it from there (a message broker, or a list).
"""
