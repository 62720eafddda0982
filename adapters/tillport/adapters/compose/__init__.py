"""Where the parts are joined: the only package that may import several adapters.

    from tillport.adapters.compose import open_service, read_settings

    async with open_service(read_settings()) as service:
        answer = await service.till.charge(order, caller=caller)

A name is imported when it is first used, so that reading settings costs no SQL and no HTTP.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillport.adapters.compose.effects import Effects, open_effect_queue, run_effects
    from tillport.adapters.compose.secret import Secret
    from tillport.adapters.compose.service import Service, open_service
    from tillport.adapters.compose.settings import Settings, SettingsRefused
    from tillport.adapters.compose.sources import read_settings, variable
    from tillport.adapters.compose.stores import Stores, open_stores, sqlite_path, system_clock

__all__ = [
    "Effects",
    "Secret",
    "Service",
    "Settings",
    "SettingsRefused",
    "Stores",
    "open_effect_queue",
    "open_service",
    "open_stores",
    "read_settings",
    "run_effects",
    "sqlite_path",
    "system_clock",
    "variable",
]

_MODULES = {
    "Effects": "effects",
    "Secret": "secret",
    "Service": "service",
    "Settings": "settings",
    "SettingsRefused": "settings",
    "Stores": "stores",
    "open_effect_queue": "effects",
    "open_service": "service",
    "open_stores": "stores",
    "read_settings": "sources",
    "run_effects": "effects",
    "sqlite_path": "stores",
    "system_clock": "stores",
    "variable": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
