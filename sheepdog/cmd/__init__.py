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

"""The commands: sheep, dog, sheepdog-manage, and how a sheep is wired."""

import sys

# Libraries of OpenStack that find eventlet installed import it (futurist, of
# which tooz takes its threads; oslo.log, oslo.messaging): 0.13 s of each
# start, 8 MB, a warning on standard error, and nothing that a process with a
# loop of its own could use. A None is what Python takes for a failing import;
# here, before any of them.
sys.modules.setdefault('eventlet', None)
