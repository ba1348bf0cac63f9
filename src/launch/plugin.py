"""Making a class of this package a plugin of Hydra."""

import sys
from types import ModuleType

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

# Hydra takes plugins from modules of this name alone. A folder `hydra_plugins` of that kind would be imported by every
# Hydra program in the environment; ours are of use to none but this project's.
MODULE = "hydra_plugins.ap_loss"


def register_plugin(plugin: type, group: str, name: str, schema: type) -> None:
    """Make a class a plugin of Hydra, chosen as `<group>=<name>`.

    Args:
        schema: the dataclass of its part of the configuration; its `_target_` is MODULE.<the class's name>.
    """
    plugin.__module__ = MODULE
    setattr(sys.modules.setdefault(MODULE, ModuleType(MODULE)), plugin.__name__, plugin)
    Plugins.instance().register(plugin)
    ConfigStore.instance().store(group=group, name=name, node=schema)
