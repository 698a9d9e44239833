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

"""Configuration: oslo.config options, one file per group, and the frozen
settings objects that the rooms are given.

    conf = conf.new_config(['/etc/sheepdog/sheepdog.conf'])
    settings.build(conf) -> SheepSettings

Nothing is global: a configuration is an object, and no room but ``cmd``
ever sees it.
"""

from sheepdog.conf.config import new_config

__all__ = ['new_config']
