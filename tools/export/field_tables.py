"""The tables of docs/exporting.md that the exporter's code decides.

    python tools/export/field_tables.py            writes them
    python tools/export/field_tables.py --check    fails if they are not today's
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from glint_export.families import COMPONENT_FIELDS, PIPELINE_OPTIONS
from glint_export.scheduler_fields import (
    FLOW_CLASSES,
    VP_CLASSES,
    Carried,
    Computed,
    Fields,
    NoEffect,
    Only,
    Rule,
    When,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/exporting.md"
BEGIN, END = "<!-- field tables -->\n", "<!-- end of field tables -->\n"


def value(it: object) -> str:
    if it is None or isinstance(it, bool):
        return f"`{it}`"
    return "`-inf`" if it == -math.inf else f"`{it}`"


def told(rule: Rule) -> str:
    match rule:
        case Carried(where, None):
            return where_text(where)
        case Carried(where, values):
            return f"{where_text(where)}; {', '.join(map(value, values))}"
        case NoEffect(reason):
            return f"no effect: {reason}"
        case Computed():
            return "the network's file computes it"
        case Only(it):
            return f"only {value(it)}"
        case When(text, _, rule, otherwise):
            return f"with {text}: {told(rule)}; else: {told(otherwise)}"


def where_text(where: str) -> str:
    field, _, option = where.partition(", ")
    return f"`{field}`" + (f", option `{option}`" if option and field == "default_solver" else
                           f", `{option}`" if option else "")  # fmt: skip


def table(title: str, classes: dict[str, Fields]) -> str:
    groups: dict[str, list[str]] = {}
    for name, fields in classes.items():
        rows = "".join(f"| `{field}` | {told(rule)} |\n" for field, rule in fields.items())
        groups.setdefault(rows, []).append(name)
    text = ""
    for rows, names in groups.items():
        heading = ", ".join(f"`{name}`" for name in names)
        text += f"{heading}{title}:\n\n| field | in a bundle |\n|---|---|\n{rows}\n"
    return text


def tables() -> str:
    return (
        table(" (sdxl)", VP_CLASSES) + table(" (sd3, flux, wan)", FLOW_CLASSES)
        + table(", options in `model_index.json`", PIPELINE_OPTIONS)
        + "".join(table(f" of {pipeline}, fields of `config.json` that a pipeline reads", fields)
                  for pipeline, fields in COMPONENT_FIELDS.items())
    )  # fmt: skip


def page() -> tuple[str, str]:
    """The page as it is and as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return text, f"{before}{BEGIN}\n{tables()}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    current, wanted = page()
    if parser.parse_args().check:
        return 0 if current == wanted else 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
