"""Templates taken apart into programs: what is the same for many readers is rendered once, else when it is known.

Template authors write plain Jinja. Whatever this module does not understand is rendered by Jinja itself, as late as
it has to be: a statement if it stands for itself, else the whole template.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import markupsafe
from jinja2 import Environment, nodes
from jinja2.filters import FILTERS
from jinja2.tests import TESTS

from newsletter.mail.program import (
    CARDS,
    GROUP_CARDS,
    GROUPS,
    UNKNOWN,
    Branch,
    Known,
    Loop,
    Node,
    Program,
    Value,
    Values,
    merged,
    needs_of,
)


class _CannotSplit(Exception):
    """A template that only Jinja can render, and only as a whole."""


def split(environment: Environment, source: str, known: Known, numbers: Iterator[int] | None = None) -> Program:
    """The program of a template whose values are ``known``; a single value if it cannot be split.

    ``numbers`` are given to its loops.

    Raises:
        jinja2.TemplateSyntaxError: it is no template.
    """
    tree = environment.parse(source)
    try:
        return merged(_Splitter(environment, known, numbers or itertools.count()).program(tree.body, {}))
    except _CannotSplit:
        template = environment.from_string(source)
        return (Value(UNKNOWN, lambda values: template.render(values)),)


class _Splitter:
    def __init__(self, environment: Environment, known: Known, numbers: Iterator[int]) -> None:
        self._environment = environment
        self._numbers = numbers
        self._known = known

    def program(self, body: Iterable[nodes.Node], targets: Mapping[str, str]) -> Iterator[Node]:
        """The program of these statements; ``targets``: loop variables, each ``group`` or ``card``."""
        for node in body:
            if isinstance(node, nodes.Output):
                for part in node.nodes:
                    yield part.data if isinstance(part, nodes.TemplateData) else self._value(part, targets)
            elif isinstance(node, nodes.If):
                yield self._branch(node, targets)
            elif isinstance(node, nodes.For):
                yield self._loop(node, targets)
            else:
                # Above all what sets variables: they would be seen further on.
                raise _CannotSplit

    def _value(self, expression: nodes.Expr, targets: Mapping[str, str]) -> Value:
        get = self._getter(expression, targets)
        if get is None:
            return self._by_jinja(nodes.Output([expression], lineno=expression.lineno), targets)
        show = _escaped if self._environment.autoescape else str
        name = expression.name if isinstance(expression, nodes.Name) else ""
        return Value(self._needs(expression, targets), lambda values: show(get(values)), name)

    def _branch(self, node: nodes.If, targets: Mapping[str, str]) -> Branch:
        asks = self._needs(node.test, targets)
        test = self._getter(node.test, targets)
        if test is None:
            data = nodes.Output([nodes.TemplateData("1")], lineno=node.lineno)
            test = self._by_jinja(nodes.If(node.test, [data], [], [], lineno=node.lineno), targets).text
        then = merged(self.program(node.body, targets))
        otherwise: Program
        if node.elif_:
            following = nodes.If(node.elif_[0].test, node.elif_[0].body, node.elif_[1:], node.else_, lineno=node.lineno)
            otherwise = (self._branch(following, targets),)
        else:
            otherwise = merged(self.program(node.else_, targets))
        return Branch(asks | needs_of(then) | needs_of(otherwise), asks, test, then, otherwise)

    def _loop(self, node: nodes.For, targets: Mapping[str, str]) -> Node:
        source = self._path(node.iter, targets)
        plain = not (node.else_ or node.test or node.recursive) and isinstance(node.target, nodes.Name)
        kind = "group" if source == GROUPS else "card"
        # `loop` counts what is made apart from each other here, and two loops of a kind in each other would be
        # mistaken for one another.
        nested = kind in targets.values() or _asks_for(node.body, "loop")
        if plain and not nested and source in (GROUPS, GROUP_CARDS, *CARDS):
            assert isinstance(node.target, nodes.Name)
            name = node.target.name
            # A name used twice would hide the other.
            if name not in targets and name not in self._known and not _sets(node.body, name):
                try:
                    body = merged(self.program(node.body, {**targets, name: kind}))
                except _CannotSplit:
                    pass
                else:
                    return Loop(next(self._numbers), source, name, body)
        # What is set in a loop is forgotten at its end, so that it stands for itself.
        return self._by_jinja(node, targets)

    def _path(self, expression: nodes.Node, targets: Mapping[str, str]) -> str | None:
        """``subject`` or ``card.title``; None for any other expression."""
        if isinstance(expression, nodes.Name) and expression.name in self._known and expression.name not in targets:
            return expression.name
        if isinstance(expression, nodes.Getattr) and isinstance(expression.node, nodes.Name):
            kind = targets.get(expression.node.name)
            return kind and f"{kind}.{expression.attr}"
        return None

    def _getter(self, expression: nodes.Node, targets: Mapping[str, str]) -> Callable[[Values], Any] | None:
        """What evaluates a name, an attribute of a loop's variable, or a plain filter of these."""
        if isinstance(expression, nodes.Filter) and expression.node is not None:
            function = self._environment.filters.get(expression.name)
            inner = self._getter(expression.node, targets)
            extra = expression.args or expression.kwargs or expression.dyn_args or expression.dyn_kwargs
            if function is None or inner is None or extra or hasattr(function, "jinja_pass_arg"):
                return None
            return lambda values: function(inner(values))
        if self._path(expression, targets) is None:
            return None
        if isinstance(expression, nodes.Name):
            return itemgetter(expression.name)
        assert isinstance(expression, nodes.Getattr)
        assert isinstance(expression.node, nodes.Name)
        name, attribute, get = expression.node.name, expression.attr, self._environment.getattr
        return lambda values: get(values[name], attribute)

    def _by_jinja(self, statement: nodes.Stmt, targets: Mapping[str, str]) -> Value:
        tree = nodes.Template([statement], lineno=statement.lineno)
        tree.set_environment(self._environment)
        needs = self._needs(statement, targets)
        template = self._environment.from_string(tree)
        return Value(needs, lambda values: template.render(values))

    def _needs(self, node: nodes.Node, targets: Mapping[str, str]) -> Known:
        """What a statement or expression depends on.

        Raises:
            _CannotSplit: it looks at the whole template's state or at other files.
        """
        if _reaches_out(node, self._environment):
            raise _CannotSplit
        return frozenset(self._free(node, targets, frozenset()))

    def _free(self, node: nodes.Node, targets: Mapping[str, str], bound: frozenset[str]) -> Iterator[str]:
        if isinstance(node, nodes.For):
            yield from self._free(node.iter, targets, bound)
            inner = bound | {"loop"} | {name.name for name in _found(node.target, nodes.Name)}
            for child in (*node.body, *([node.test] if node.test else ())):
                yield from self._free(child, targets, inner)
            for child in node.else_:
                yield from self._free(child, targets, bound)
            return
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name) and node.node.name not in bound:
            path = self._path(node, targets)
            if path is not None:
                yield path
                return
        if isinstance(node, nodes.Name) and node.name not in bound:
            if node.name in self._known and node.name not in targets:
                yield node.name
            elif node.name in targets or node.name not in self._environment.globals:
                # A loop variable as a whole may be asked for anything.
                yield from UNKNOWN
        for child in node.iter_child_nodes():
            yield from self._free(child, targets, bound)


def _found(node: nodes.Node, kind: type[Any]) -> Iterator[Any]:
    if isinstance(node, kind):
        yield node
    yield from node.find_all(kind)


def _reaches_out(node: nodes.Node, environment: Environment) -> bool:
    kinds: tuple[type[nodes.Node], ...] = (nodes.Block, nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    kinds += (nodes.Macro, nodes.CallBlock, nodes.ContextReference, nodes.DerivedContextReference)
    kinds += (nodes.EvalContextModifier,)
    if any(isinstance(node, kind) or node.find(kind) for kind in kinds):
        return True
    for kind, there, usual in (
        (nodes.Filter, environment.filters, FILTERS),
        (nodes.Test, environment.tests, TESTS),
    ):
        for found in _found(node, kind):
            function = there.get(found.name)
            # Jinja's own ones ask the context for its environment only.
            if hasattr(function, "jinja_pass_arg") and function is not usual.get(found.name):
                return True
    return False


def _asks_for(body: Iterable[nodes.Node], name: str) -> bool:
    """Whether ``name`` occurs free in these statements, given that only loops bind it: ``loop``."""
    for node in body:
        if isinstance(node, nodes.For):
            outside: list[nodes.Node] = [node.iter, *node.else_]
            if _asks_for(outside, name):
                return True
        elif (isinstance(node, nodes.Name) and node.name == name) or _asks_for(node.iter_child_nodes(), name):
            return True
    return False


def _sets(body: Iterable[nodes.Node], name: str) -> bool:
    return any(found.name == name and found.ctx != "load" for node in body for found in _found(node, nodes.Name))


def _escaped(value: Any) -> str:
    if value.__class__ is not str:
        return str(markupsafe.escape(value))
    # As markupsafe does, in half the time for what needs no escaping.
    if "&" in value:
        value = value.replace("&", "&amp;")
    for character, written in (("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;")):
        if character in value:
            value = value.replace(character, written)
    return value  # type: ignore[no-any-return]
