"""YAML text into values of declared types, with the file and the line of every mistake.

PyYAML only cuts the text into nodes; what a scalar means is decided here, by the type that is wanted, because its own
reading has traps: `1e-3` becomes text, `no` False, `010` eight, `12:30` 750, and of a key given twice the last wins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sslkit.catalog import nearest
from sslkit.errors import UserError

MAX_BYTES = 50_000
"""Ten times the longest recipe, and what is parsed in seconds whatever it holds."""
MAX_DEPTH = 16
MAX_TOLD = 100

_WHOLE = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_LISTS = (list, tuple, set, frozenset, Sequence)
_MAPPINGS = (dict, Mapping)
_WORDS: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", Any: "a value"}
_WRONG = object()

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Place:
    """Where something was written. line counts from 1; 0 stands for a flag on the command line."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Leaf:
    """A scalar as it was written; `quoted` also holds for block text (`|`, `>`)."""

    place: Place
    path: str
    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Place
    path: str
    items: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Block:
    """A mapping; its own place is that of its key."""

    place: Place
    path: str
    items: dict[str, Tree] = field(default_factory=dict)


Tree = Leaf | Items | Block


class Mistakes:
    """All that is wrong with a text, each thing once, told together."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str, str], None] = {}

    def add(self, place: Place, path: str, what: str) -> None:
        """`path` is the dotted key, or empty where there is none to name."""
        self._found[place, path, what] = None

    def __len__(self) -> int:
        return len(self._found)

    def error(self) -> UserError:
        """One line a mistake, in the order of the file; those of flags come last. The first hundred of them."""
        ordered = sorted(self._found, key=lambda m: (m[0].line == 0, m[0].line))
        lines = [": ".join(filter(None, (str(p), path, what))) for p, path, what in ordered[:MAX_TOLD]]
        more = [f"{ordered[0][0].file}: and {len(ordered) - MAX_TOLD} more"] if len(ordered) > MAX_TOLD else []
        return UserError("\n".join(lines + more))


def parse(text: str, file: str, mistakes: Mistakes, path: str = "", line: int = 1) -> Tree | None:
    """The tree of a YAML text; None when it is not YAML at all, which `mistakes` then says.

    Anchors, aliases, tags and merge keys are refused: a recipe says each thing once, where it stands.
    """
    before = len(mistakes)
    try:
        _refuse(text, file, mistakes, line)
        node = yaml.compose(text, Loader=yaml.SafeLoader) if len(mistakes) == before else None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark and line else 0
        mistakes.add(Place(file, at), path, f"not valid YAML: {error.problem}")
        return None
    except yaml.YAMLError as error:
        at = text.count("\n", 0, getattr(error, "position", 0)) + 1 if line else 0
        mistakes.add(Place(file, at), path, "not valid YAML: it holds a character that YAML does not allow")
        return None
    if node is None:
        return Block(Place(file, line), path) if len(mistakes) == before else None
    return _tree(node, Place(file, line), path, mistakes)


def _refuse(text: str, file: str, mistakes: Mistakes, line: int) -> None:
    """Note what may not stand in the text; nesting that is too deep is noted before anything recurses into it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = Place(file, event.start_mark.line + 1 if line and event.start_mark else 0)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            mistakes.add(place, "", "anchors and aliases (& and *) are not allowed: write the value out")
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag:
            mistakes.add(place, "", f"tags such as {event.tag!r} are not allowed: the type of a setting is known")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            mistakes.add(place, "", f"nested deeper than {MAX_DEPTH} levels")
            return


def _tree(node: yaml.Node, place: Place, path: str, mistakes: Mistakes) -> Tree:
    if isinstance(node, yaml.ScalarNode):
        return Leaf(place, path, node.value, quoted=node.style is not None)
    if isinstance(node, yaml.SequenceNode):
        below = [(_at(place, item), f"{path}.{i}", item) for i, item in enumerate(node.value)]
        return Items(place, path, tuple(_tree(item, at, name, mistakes) for at, name, item in below))
    items: dict[str, Tree] = {}
    for key, value in node.value:
        at = _at(place, key)
        name = f"{path}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else path
        if not isinstance(key, yaml.ScalarNode):
            mistakes.add(at, name, "a key should be a name")
        elif key.value in items:
            mistakes.add(at, name, f"given twice, first in line {items[key.value].place.line}")
        else:
            items[key.value] = _tree(value, at, name, mistakes)
    return Block(place, path, items)


def _at(parent: Place, node: yaml.Node) -> Place:
    return replace(parent, line=node.start_mark.line + 1) if parent.line else parent


def flag(assignment: str, mistakes: Mistakes, name: str = "--set") -> Block:
    """The tree of `train.lr=0.01`; a value that opens with a bracket or a quote is read as YAML."""
    place = Place(name)
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        mistakes.add(place, "", f"{assignment!r} should look like train.lr=0.01")
        return Block(place, "")
    text = text.strip()
    written = text.startswith(("[", "{", "'", '"'))
    value = parse(text, name, mistakes, path.strip(), 0) if written else Leaf(place, path.strip(), text)
    if value is None:
        return Block(place, "")
    tree = Block(place, ".".join(keys[:-1]), {keys[-1]: value})
    for depth in range(len(keys) - 2, -1, -1):
        tree = Block(place, ".".join(keys[:depth]), {keys[depth]: tree})
    return tree


def written(tree: Tree) -> Any:
    """What stands there before any type is asked for: the text of a scalar (None for null), the parts of the rest."""
    if isinstance(tree, Leaf):
        return None if _is_null(tree) else tree.text
    return tree.items


def overlaid(base: Block, over: Block) -> Block:
    """`over` merged over `base`, block by block; lists and empty blocks (`{}`) replace what was there."""
    items = dict(base.items)
    for key, new in over.items.items():
        old = items.get(key)
        items[key] = overlaid(old, new) if isinstance(old, Block) and isinstance(new, Block) and new.items else new
    return replace(base, items=items)


def _is_null(leaf: Leaf) -> bool:
    return not leaf.quoted and leaf.text in ("", "~", "null")


def typed(tree: Tree, model: type[Model], mistakes: Mistakes) -> Model | None:
    """The tree as a pydantic model; None if anything is wrong, which `mistakes` then says."""
    before = len(mistakes)
    values = _read(tree, model, mistakes)
    if values is _WRONG:
        return None
    misread = len(mistakes) > before
    try:
        value = model.model_validate(values)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_context=False):
            _note(tree, one["type"], one["msg"], one["loc"], misread, mistakes)
        return None
    return value if len(mistakes) == before else None


def _note(tree: Tree, kind: str, message: str, loc: tuple[int | str, ...], misread: bool, mistakes: Mistakes) -> None:
    """One finding of pydantic, at the line of the setting that it is about."""
    found, rest = _locate(tree, loc)
    if kind == "missing":
        # With nothing left below, the key is there, and was found to be mistyped before.
        if isinstance(found, Block) and rest:
            mistakes.add(found.place, f"{found.path}.{rest[0]}".lstrip("."), "missing setting")
        elif isinstance(found, Items) and rest:
            mistakes.add(found.place, found.path, "too few values")
        return
    if misread and isinstance(found, Block):  # a check across settings, made without those that could not be read
        return
    if kind == "too_long" and isinstance(found, Items):
        message = "too many values"
    what = message.removeprefix("Value error, ").removeprefix("Input ")
    mistakes.add(found.place, found.path, f"{what}, not {found.text!r}" if isinstance(found, Leaf) else what)


def _locate(tree: Tree, loc: Sequence[int | str]) -> tuple[Tree, list[int | str]]:
    """The deepest part of the tree along a location of pydantic, and what of the location is left below it.

    A location also names the member of a union that was tried; those names are in no file and are passed over.
    """
    rest = list(loc)
    while rest and not isinstance(tree, Leaf):
        below: dict[Any, Tree] = dict(tree.items if isinstance(tree, Block) else enumerate(tree.items))
        if rest[0] not in below and len(rest) == 1:
            break
        tree = below.get(rest.pop(0), tree)
    return tree, rest


def _read(tree: Tree, kind: Any, mistakes: Mistakes) -> Any:
    """Plain values (numbers, text, lists, dicts) as `kind` wants them; _WRONG, and a note, where they cannot be had."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read(tree, arguments[0], mistakes)
    if origin in (Union, UnionType):
        return _read_union(tree, arguments, mistakes)
    if isinstance(tree, Block) and _is_block(kind):
        return _read_block(tree, kind, mistakes)
    if isinstance(tree, Items) and (kind is Any or (origin or kind) in _LISTS):
        each = [a for a in arguments if a is not Ellipsis] or [Any]
        kinds = [each[min(i, len(each) - 1)] for i in range(len(tree.items))]
        return [_read(item, k, mistakes) for item, k in zip(tree.items, kinds, strict=True)]
    value = scalar(tree, kind) if isinstance(tree, Leaf) else _WRONG
    if value is _WRONG:
        mistakes.add(tree.place, tree.path, _complaint(tree, kind))
    return value


def _is_block(kind: Any) -> bool:
    return kind is Any or (get_origin(kind) or kind) in _MAPPINGS or _is_model(kind)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _read_block(tree: Block, kind: Any, mistakes: Mistakes) -> dict[str, Any]:
    """Keys whose value is wrong, or that are unknown, are left out."""
    known = {name: f.annotation for name, f in kind.model_fields.items()} if _is_model(kind) else None
    others = get_args(kind)[1] if get_args(kind) else Any
    values: dict[str, Any] = {}
    for key, below in tree.items.items():
        if known is not None and key not in known:
            mistakes.add(below.place, below.path, f"unknown setting; {nearest(key, list(known))}")
        elif (value := _read(below, others if known is None else known[key], mistakes)) is not _WRONG:
            values[key] = value
    return values


def _read_union(tree: Tree, kinds: Sequence[Any], mistakes: Mistakes) -> Any:
    """The first member that fits, the narrowest scalar first: true, then 1, then 1.0, then text."""
    if type(None) in kinds and isinstance(tree, Leaf) and _is_null(tree):
        return None
    members = sorted((k for k in kinds if k is not type(None)), key=_breadth)
    for member in members:
        value = _read(tree, member, unfit := Mistakes())
        if not unfit:
            return value
    alike = [k for k in members if isinstance(tree, Block) and _is_block(k)] or members
    if len(alike) == 1:
        return _read(tree, alike[0], mistakes)
    mistakes.add(tree.place, tree.path, _complaint(tree, *members))
    return _WRONG


def _breadth(kind: Any) -> int:
    return {bool: 0, int: 1, float: 2, str: 4}.get(kind, 3)


def scalar(leaf: Leaf, kind: Any = Any) -> Any:
    """The value of a scalar for a type, or a mark that it is none. Without a type: YAML 1.2's core rules."""
    text, plain = leaf.text, not leaf.quoted
    if kind is bool:
        return {"true": True, "false": False}.get(text, _WRONG) if plain else _WRONG
    if kind is int:
        return int(text) if plain and _WHOLE.fullmatch(text) else _WRONG
    if kind is float:
        number = float(text) if plain and _NUMBER.fullmatch(text) else math.inf
        return number if math.isfinite(number) else _WRONG
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}.get(text, _WRONG)
    if kind is str or kind is Path:
        return _WRONG if _is_null(leaf) else text
    if kind is not Any:
        return _WRONG
    if _is_null(leaf):
        return None
    return next((v for k in (bool, int, float) if (v := scalar(leaf, k)) is not _WRONG), text)


def _complaint(tree: Tree, *kinds: Any) -> str:
    wanted = " or ".join(map(_wanted, kinds))
    choices = [str(c) for kind in kinds if get_origin(kind) is Literal for c in get_args(kind)]
    if not isinstance(tree, Leaf):
        return f"should be {wanted}, not a {'list' if isinstance(tree, Items) else 'block'}"
    if _is_null(tree):
        return f"has no value; it should be {wanted}"
    text = tree.text if len(tree.text) <= 40 else tree.text[:37] + "..."
    hint = f"; {near}" if choices and (near := nearest(tree.text, choices)).startswith("did") else ""
    return f"should be {wanted}, not {'the quoted text ' if tree.quoted else ''}{text!r}{hint}"


def _wanted(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(repr(c) for c in get_args(kind))
    if (get_origin(kind) or kind) in _LISTS:
        return "a list"
    return "a block of settings" if kind is not Any and _is_block(kind) else _WORDS.get(kind, "text")
