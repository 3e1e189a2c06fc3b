"""Rust sources as the lints need them: modules, what they import, their functions, types and docstrings.

A crate is read from its root file along its `mod` declarations, as the compiler reads it, so that what is behind
`#[cfg(test)]` is known, also when it is a file of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_rust.language()))

SEGMENTS = {"identifier", "type_identifier", "crate", "self", "super"}
TYPES = {"struct_item", "enum_item", "union_item", "trait_item", "type_item"}
NAMED = TYPES | {"function_item", "const_item", "static_item", "macro_definition"}
TEST_ATTRIBUTE = re.compile(r"#\[\s*(?:cfg\(\s*(?:all\(\s*)?test\b|(?:\w+::)?test\b|proptest\b)")
PATH_ATTRIBUTE = re.compile(r'#\[\s*path\s*=\s*"([^"]+)"')

Segments = tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """`lines` counts from the signature to the closing brace."""

    name: str
    line: int
    lines: int


@dataclass
class Module:
    """A file or an inline module. Paths in `uses` and `paths` are as written, with the line they stand on."""

    path: Segments
    file: Path
    uses: list[tuple[Segments, str, int]] = field(default_factory=list)
    """Path, the name it is bound to (`*` for a glob) and the line."""
    paths: list[tuple[Segments, int]] = field(default_factory=list)
    children: set[str] = field(default_factory=set)
    items: set[str] = field(default_factory=set)
    functions: list[Function] = field(default_factory=list)
    types: list[tuple[str, int]] = field(default_factory=list)
    docs: list[tuple[str, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Import:
    """`importer` names `imported`, both as paths from the root of the crate; `written` as it stands there."""

    importer: Segments
    imported: Segments
    written: Segments
    file: Path
    line: int


class Crate:
    """The modules of a crate that are compiled into what is shipped. `test_files` are the others."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.modules: dict[Segments, Module] = {}
        self.files: set[Path] = set()
        self.test_files: set[Path] = set()
        self.test_lines: dict[Path, list[tuple[int, int]]] = {}
        """Of files that hold other code as well: first and last line of what is for tests only."""
        for root in [source / "lib.rs", source / "main.rs", *sorted(source.glob("bin/*.rs"))]:
            if root.exists():
                self._read(root, (), test=False)

    def _read(self, file: Path, path: Segments, test: bool) -> None:
        (self.test_files if test else self.files).add(file)
        module = self.modules.setdefault(path, Module(path, file)) if not test else Module(path, file)
        is_root = not path or file.name == "mod.rs"
        inside = file.parent if is_root else file.parent / file.stem
        self._items(parse(file), module, inside, test)

    def _items(self, node: Node, module: Module, inside: Path, test: bool) -> None:
        for child, attributes in _documented(node, module):
            only_test = test or bool(TEST_ATTRIBUTE.search(attributes))
            if only_test and not test:
                lines = (child.start_point.row + 1, child.end_point.row + 1)
                self.test_lines.setdefault(module.file, []).append(lines)
            if child.type == "mod_item":
                self._module(child, module, inside, attributes, only_test)
            elif not only_test or test:
                self._item(child, module)

    def _module(self, node: Node, module: Module, inside: Path, attributes: str, test: bool) -> None:
        name = _name(node)
        if not test:
            module.children.add(name)
        body = node.child_by_field_name("body")
        if body is not None:
            path = (*module.path, name)
            inner = Module(path, module.file) if test else self.modules.setdefault(path, Module(path, module.file))
            self._items(body, inner, inside / name, test)
            return
        named = PATH_ATTRIBUTE.search(attributes)
        candidates = [inside / f"{name}.rs", inside / name / "mod.rs"]
        if named:
            candidates = [module.file.parent / named[1]]
        for file in candidates:
            if file.exists():
                self._read(file.resolve() if named else file, (*module.path, name), test)

    def _item(self, node: Node, module: Module) -> None:
        if node.type in NAMED:
            module.items.add(_name(node))
        _visit(node, module)

    def imports(self) -> Iterator[Import]:
        """What the modules of the crate name of each other, `use` by `use` and path by path."""
        for module in self.modules.values():
            bound = self._bound(module)
            for written, _, line in module.uses:
                if target := self._absolute(written, module, {}):
                    yield Import(module.path, target, written, module.file, line)
            for written, line in module.paths:
                target = self._absolute(written, module, bound)
                # What a `use` brought in and its line counts already is not counted at every mention.
                if target and not (written[0] in bound and self.home(bound[written[0]]) == self.home(target)):
                    yield Import(module.path, target, written, module.file, line)

    def external(self, names: set[str]) -> Iterator[tuple[str, Path, int]]:
        """Where one of the crates `names` is named: crate, file and line."""
        for module in self.modules.values():
            uses = [(written, line) for written, _, line in module.uses]
            for written, line in [*uses, *module.paths]:
                if written and written[0] in names:
                    yield written[0], module.file, line

    def home(self, path: Segments) -> Segments:
        """The module that a path leads to, through whatever re-exports it."""
        for _ in range(16):
            # A function may have the name of a module beside it: a path that ends there means the function.
            parent = self.modules.get(path[:-1])
            prefix = path[:-1] if parent and path and path[-1] in parent.items else path
            while prefix and prefix not in self.modules:
                prefix = prefix[:-1]
            module, rest = self.modules[prefix], path[len(prefix) :]
            onward = self._reexported(module, rest[0]) if rest else None
            if onward is None or (*onward, *rest[1:]) == path:
                return prefix
            path = (*onward, *rest[1:])
        return prefix

    def _reexported(self, module: Module, name: str) -> Segments | None:
        if name in module.items:
            return None
        globs = []
        for written, bound, _ in module.uses:
            target = self._absolute(written, module, {})
            if target is None:
                continue
            if bound == name:
                return target
            if bound == "*" and target in self.modules and target != module.path:
                globs.append(target)
        return next(((*glob, name) for glob in globs if name in self.modules[glob].items), None)

    def _bound(self, module: Module) -> dict[str, Segments]:
        found = {}
        for written, name, _ in module.uses:
            if target := self._absolute(written, module, {}):
                found[name] = target
        return found

    def _absolute(self, written: Segments, module: Module, bound: dict[str, Segments]) -> Segments | None:
        if not written:
            return None
        first, rest = written[0], written[1:]
        if first == "crate":
            return rest
        if first in ("self", "super"):
            at = module.path
            while written and written[0] in ("self", "super"):
                at = at[:-1] if written[0] == "super" else at
                written = written[1:]
            return (*at, *written)
        if first in module.children:
            return (*module.path, *written)
        return (*bound[first], *rest) if first in bound else None


class _Docs:
    """Joins the lines of a docstring, which the grammar gives one by one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.at = 0
        self.kind = ""

    def add(self, comment: Node, module: Module) -> None:
        found = re.match(r"//([/!])(?!/)(.*)", _text(comment).strip(), re.S)
        if found is None:
            self.end(module)
            return
        line = comment.start_point.row + 1
        if self.lines and (found[1] != self.kind or line != self.at + len(self.lines)):
            self.end(module)
        if not self.lines:
            self.at, self.kind = line, found[1]
        self.lines.append(found[2].strip())

    def end(self, module: Module) -> None:
        if self.lines:
            module.docs.append((" ".join(self.lines), self.at))
        self.lines = []


def parse(file: Path) -> Node:
    return PARSER.parse(file.read_bytes()).root_node


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _name(node: Node) -> str:
    name = node.child_by_field_name("name")
    return _text(name) if name is not None else ""


def _visit(node: Node, module: Module) -> None:
    """Notes what is inside an item. What is for tests only is left out wherever it stands."""
    if node.type == "use_declaration":
        argument = node.child_by_field_name("argument")
        if argument is not None:
            module.uses += _use_tree(argument, ())
        return
    if node.type == "function_item":
        lines = node.end_point.row - node.start_point.row + 1
        module.functions.append(Function(_name(node), node.start_point.row + 1, lines))
    if node.type in TYPES and node.parent is not None and node.parent.type in ("source_file", "declaration_list"):
        # The types that an `impl` gives to a trait are no declarations of a name.
        if node.parent.parent is None or node.parent.parent.type == "mod_item":
            module.types.append((_name(node), node.start_point.row + 1))
    module.paths += _paths(node)
    for child, attributes in _documented(node, module):
        if not TEST_ATTRIBUTE.search(attributes):
            _visit(child, module)


def _documented(node: Node, module: Module) -> Iterator[tuple[Node, str]]:
    """The children with the attributes before each. The docs among them are noted."""
    attributes, docs = "", _Docs()
    for child in node.named_children:
        if child.type == "attribute_item":
            attributes += _text(child)
        elif child.type in ("line_comment", "block_comment"):
            docs.add(child, module)
        else:
            docs.end(module)
            yield child, attributes
            attributes = ""
    docs.end(module)


def _paths(node: Node) -> Iterator[tuple[Segments, int]]:
    """The paths whose tokens are children of this node; in macros they are loose, elsewhere nested to the left."""
    if node.type in ("scoped_identifier", "scoped_type_identifier"):
        if node.parent is None or node.parent.type not in ("scoped_identifier", "scoped_type_identifier"):
            segments = _segments(node)
            if len(segments) > 1:
                yield segments, node.start_point.row + 1
    elif node.type == "token_tree":
        found: list[str] = []
        at, joined = 0, False
        for child in node.children:
            if child.type == "::":
                joined = True
            elif child.type in SEGMENTS and (joined and found):
                found.append(_text(child))
                joined = False
            else:
                if len(found) > 1:
                    yield tuple(found), at
                found = [_text(child)] if child.type in SEGMENTS else []
                at, joined = child.start_point.row + 1, False
        if len(found) > 1:
            yield tuple(found), at


def _segments(node: Node) -> Segments:
    """The segments of a path; of `<X as a::T>::f` and of `a::B<C>::f` those that name a module."""
    if node.type in SEGMENTS:
        return (_text(node),)
    if node.type in ("scoped_identifier", "scoped_type_identifier", "scoped_use_list", "use_wildcard"):
        found: Segments = ()
        for child in node.named_children:
            found += _segments(child)
        return found
    if node.type == "generic_type":
        inner = node.child_by_field_name("type")
        return _segments(inner) if inner is not None else ()
    return ()


def _use_tree(node: Node, prefix: Segments) -> Iterator[tuple[Segments, str, int]]:
    line = node.start_point.row + 1
    if node.type == "use_as_clause":
        path, alias = node.child_by_field_name("path"), node.child_by_field_name("alias")
        if path is not None and alias is not None:
            yield (*prefix, *_segments(path)), _text(alias), line
    elif node.type == "use_list":
        for child in node.named_children:
            yield from _use_tree(child, prefix)
    elif node.type == "scoped_use_list":
        path, inner = node.child_by_field_name("path"), node.child_by_field_name("list")
        if inner is not None:
            yield from _use_tree(inner, (*prefix, *(_segments(path) if path is not None else ())))
    elif node.type == "use_wildcard":
        yield (*prefix, *_segments(node)), "*", line
    elif node.type == "self" and prefix:
        yield prefix, prefix[-1], line
    else:
        segments = (*prefix, *_segments(node))
        if segments:
            yield segments, segments[-1], line
