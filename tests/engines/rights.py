"""What docs/engines/*.md tell to grant, for a bed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from beds import Bed, every_bed

from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.installation import quoted

PAGES = Path(__file__).parents[2] / "docs" / "engines"


def rights_of(bed: Bed, role: str) -> str:
    """The SQL of the engine's page that is about the role, for the bed's schema and prefix."""
    pages = [path for path in PAGES.glob("*.md") if _letters(path.stem) == _letters(bed.engine)]
    assert len(pages) == 1, f"docs/engines has no page about {bed.engine}"
    [page] = pages
    every = re.findall(r"^```sql\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    blocks = [block for block in every if role in block]
    if not blocks:
        pytest.skip(f"{page} tells no rights to grant to {role}")
    sql = "\n".join(blocks)
    home = engine_files()[bed.engine].home
    usual = next(kind.prefix for kind in every_bed() if kind.engine == bed.engine)
    if bed.prefix != usual:
        sql = re.sub(rf"\b{home}\.{usual}(\w+)", lambda found: f"{home}.{quoted(bed.prefix + found[1])}", sql)
    return re.sub(rf"\b{home}\b", lambda _: quoted(bed.schema), sql)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name)
