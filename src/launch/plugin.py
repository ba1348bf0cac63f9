"""Register classes of this package as plugins of Hydra."""

import sys
from types import ModuleType

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

# Hydra accepts plugins only from modules with this prefix. A real package `hydra_plugins` would be imported by every
# Hydra program in the environment; these plugins are useful only in this project's programs.
MODULE = "hydra_plugins.ap_loss"


def register_plugin(plugin: type, group: str, name: str, schema: type) -> None:
    """Register a class as a plugin of Hydra, chosen as `<group>=<name>`.

    Args:
        schema: the dataclass of the plugin's configuration; its `_target_` is MODULE.<the class's name>.
    """
    plugin.__module__ = MODULE
    setattr(sys.modules.setdefault(MODULE, ModuleType(MODULE)), plugin.__name__, plugin)
    Plugins.instance().register(plugin)
    ConfigStore.instance().store(group=group, name=name, node=schema)
