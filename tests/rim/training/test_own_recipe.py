"""The recipe that the page on training begins with needs nothing that a stranger does not have."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_first_recipe_needs_no_other_file():
    """No path stands in it, and its classes of skies add up to 1."""
    name = re.search(r"radrim train (\S+\.toml)", (ROOT / "docs" / "training.md").read_text())[1]
    recipe = tomllib.loads((ROOT / name).read_text())
    assert not {"first", "layouts"} & set(recipe.get("problems", {}))
    assert "first" not in recipe["problems"]["skies"]
    assert not {"truth", "start"} & set(recipe["training"])
    assert abs(sum(recipe["problems"]["skies"].values()) - 1) < 1e-9
