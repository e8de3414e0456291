"""Writes ``schema/``: JSON Schemas of the configuration, with which editors check YAML files.

The allowed values of a setting come from the signature of its factory, the description from the
comment above it in ``conf/``. ``config.json`` describes a whole configuration such as
``conf/config.yaml``, and ``<group>.json`` an option of that group.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from runner.config.sections import (
    AugmentationSettings,
    CheckpointSettings,
    DatasetSettings,
    General,
    LookaheadSettings,
    Training,
    WrapperSettings,
)
from runner.config.signature import json_schema
from runner.registry import GROUPS

DOCS = Path(__file__).resolve().parent
CONF = DOCS.parent / "conf"
FOLDER = DOCS / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Any value may be an interpolation, which is resolved before the value is validated.
INTERPOLATION = {"type": "string", "pattern": r"\$\{"}
DEFAULTS = {
    "description": "Hydra's defaults list: the options that this file builds on.",
    "type": "array",
}


def main() -> None:
    """Writes all files; removes those of groups that no longer exist."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def schemas() -> dict[str, str]:
    """File name → JSON text."""
    found = {f"{group}.json": _group(group) for group in GROUPS}
    found["config.json"] = _config()
    return {name: json.dumps(schema, indent=1) + "\n" for name, schema in found.items()}


def _config() -> dict[str, Any]:
    """The whole configuration: the general settings, ``training``, and a section for each group."""
    comments = _comments(CONF / "config.yaml")
    sections = {group: {"$ref": f"{group}.json"} for group in GROUPS}
    general = _properties(General, comments)
    return {
        "$schema": DIALECT,
        "title": "Configuration of the runner",
        "type": "object",
        "properties": {
            "defaults": DEFAULTS,
            "hydra": {"description": "Hydra's own settings.", "type": "object"},
            **general,
            "training": _section("training", Training),
            "augmentation": _section("augmentation", AugmentationSettings),
            "checkpoint": _section("checkpoint", CheckpointSettings),
            **sections,
        },
    }


def _section(name: str, section: Any) -> dict[str, Any]:
    """A section that has a file of its own in ``conf/``."""
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    described = next(line for line in text.splitlines() if not line.startswith("# @"))
    properties = _properties(section, _comments(CONF / f"{name}.yaml"))
    return {
        "description": described.removeprefix("# "),
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _group(group: str) -> dict[str, Any]:
    """An option of a group: the settings of the part ``name`` or, without a name, of any part."""
    registry = GROUPS[group]
    names = sorted(set(registry.names()) - set(registry.plugins()))
    around = _AROUND[group]() if group in _AROUND else {}
    parts = {name: _part(group, name) | around for name in names}
    union: dict[str, Any] = {}
    for settings in parts.values():
        for key, schema in settings.items():
            alternatives = union.setdefault(key, [])
            if schema not in alternatives:
                alternatives.append(schema)
    cases = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"propertyNames": {"enum": ["name", "defaults", *settings]}},
        }
        for name, settings in parts.items()
    ]
    # Without a name, the option builds on another one. A name that is not known is a plugin's.
    any_part = {"propertyNames": {"enum": ["defaults", *sorted(union)]}}
    cases.append({"if": {"not": {"required": ["name"]}}, "then": any_part})
    return {
        "$schema": DIALECT,
        "title": f"An option of the group {group}",
        "type": "object",
        "properties": {
            "defaults": DEFAULTS,
            "name": {"description": f"The registered {group}.", "anyOf": [{"enum": names}, {}]},
            **{key: _any_of(alternatives) for key, alternatives in sorted(union.items())},
        },
        "allOf": cases,
    }


def _part(group: str, name: str) -> dict[str, Any]:
    """Setting → schema, for the factory ``name``; descriptions come from options that use it."""
    comments: dict[str, str] = {}
    unset: set[str] = set()
    for path in sorted((CONF / group).glob("*.yaml")):
        option = yaml.safe_load(path.read_text(encoding="utf-8"))
        if option.get("name") == name:
            comments = _comments(path) | comments
            unset |= {key for key, value in option.items() if value is None}
    settings = _described(json_schema(GROUPS[group].get(name), group)["properties"], comments)
    for key in unset:  # null in the YAML, to be set by the user
        if {"type": "null"} not in settings[key]["anyOf"][0].get("anyOf", []):
            settings[key]["anyOf"].append({"type": "null"})
    return settings


def _wrappers() -> dict[str, Any]:
    comments = _comments(CONF / "wrappers.yaml")
    properties = _properties(WrapperSettings, comments)
    inner = _properties(LookaheadSettings, comments, "lookahead.")
    description = properties["lookahead"].get("description", "")
    lookahead = {"description": description, "type": "object", "properties": inner}
    return properties | {"lookahead": {**lookahead, "additionalProperties": False}}


def _data() -> dict[str, Any]:
    return _properties(DatasetSettings, _comments(CONF / "data.yaml"))


# Group → the settings that all its parts have.
_AROUND = {"optimizer": _wrappers, "dataset": _data}


def _properties(section: Any, comments: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    own = {field.name for field in fields(section)}
    schemas = json_schema(section)["properties"]
    return _described({key: schemas[key] for key in schemas if key in own}, comments, prefix)


def _described(
    properties: Mapping[str, Any], comments: Mapping[str, str], prefix: str = ""
) -> dict[str, Any]:
    described = {}
    for key, schema in properties.items():
        kept = {k: v for k, v in schema.items() if k not in ("title", "default")}
        description = comments.get(f"{prefix}{key}")
        about = {"description": description} if description else {}
        described[key] = {**about, "anyOf": [kept, INTERPOLATION]}
    return described


def _any_of(alternatives: list[Any]) -> Any:
    return alternatives[0] if len(alternatives) == 1 else {"anyOf": alternatives}


def _comments(path: Path) -> dict[str, str]:
    """Dotted key → the comment above it."""
    return dict(_keys_with_comments(path.read_text(encoding="utf-8").splitlines()))


def _keys_with_comments(lines: list[str]) -> Iterator[tuple[str, str]]:
    open_keys: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in lines:
        stripped = line.strip()
        key = re.match(r"(\s*)(\w+):(?:\s|$)", line)
        if stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        elif key:
            indent = len(key[1])
            open_keys = [(depth, name) for depth, name in open_keys if depth < indent]
            open_keys.append((indent, key[2]))
            if comment:
                yield ".".join(name for _, name in open_keys), " ".join(comment)
            comment = []
        else:
            comment = []


if __name__ == "__main__":
    main()
