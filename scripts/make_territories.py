"""Make src/newsletter/catalogue/territories.json from the Unicode CLDR.

    npm pack cldr-core@48 && tar xzf cldr-core-*.tgz
    python scripts/make_territories.py package/supplemental

Source: territoryContainment.json and codeMappings.json of the npm package `cldr-core` (Unicode License V3,
see NOTICE). Kept: UN M49 regions with the countries in them, and each country's alpha-3 and numeric code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "src/newsletter/catalogue/territories.json"

# Only reserved in ISO 3166-1, for islands that their country's code covers as well.
NOT_COUNTRIES = {"AC", "CP", "CQ", "DG", "EA", "IC", "TA"}


def countries_under(code: str, contains: dict[str, list[str]]) -> set[str]:
    """The countries in a region, all the way down."""
    if code not in contains:
        return set() if code in NOT_COUNTRIES else {code}
    return set().union(*(countries_under(part, contains) for part in contains[code]))


def read(folder: Path, name: str) -> dict[str, Any]:
    """One supplemental file."""
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())["supplemental"][name]
    return content


def main(folder: Path) -> None:
    """Write the file."""
    contains = {
        code: entry["_contains"]
        for code, entry in read(folder, "territoryContainment").items()
        if "-status-" not in code and (code.isdigit() or code == "QO")
    }
    regions = {code: sorted(countries_under(code, contains)) for code in sorted(contains) if code.isdigit()}
    countries = regions["001"]
    mappings = read(folder, "codeMappings")
    codes = {}
    for country in countries:
        entry = mappings.get(country, {})
        codes |= {entry[kind]: country for kind in ("_alpha3", "_numeric") if kind in entry}
    TARGET.write_text(
        json.dumps({"regions": regions, "codes": dict(sorted(codes.items()))}, separators=(",", ":")) + "\n"
    )
    print(f"{TARGET.name}: {len(countries)} countries, {len(regions)} regions, {len(codes)} codes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
