"""For the site: links that leave docs/ become the path they lead to, since the site holds the documentation alone."""

from __future__ import annotations

import re
from typing import Any

_OUTWARD = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """`[card](../src/README.md)` → card (`src/README.md`), as in a clone."""
    return _OUTWARD.sub(lambda found: f"{found[2]} (`{found[3]}`)", markdown)
