"""amenable: from raw text to an assistant that follows instructions and learns from the people who use it.

import amenable
workspace = amenable.Workspace("my-workspace")
workspace.quickstart()
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Workspace", "__version__"]

if TYPE_CHECKING:
    from amenable.workspace import Workspace


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `import amenable` stays instant."""
    if name == "Workspace":
        from amenable.workspace import Workspace

        return Workspace
    raise AttributeError(f"module 'amenable' has no attribute {name!r}")
