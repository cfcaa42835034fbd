"""`capture.code` finds the outside variables that a function reads and assigns."""

from __future__ import annotations

from chainrule.capture.code import variables

COUNT = CONFIG = SCALE = CONSTANT = helper = None


def outer():
    net = count = unused = 1

    def step(x, y=unused):
        nonlocal count
        global COUNT
        import json as j
        import os.path
        from collections import abc, deque

        count += 1
        COUNT = CONFIG.model.lr
        scaled = [SCALE * net.w for _ in range(3)]

        class Inner:
            value = CONSTANT

            def forward(self):
                return super().forward(self.q) + type(self).z

        return (lambda z: helper(z) + net.bias.x)(x), j.dumps, os.path.join, deque, abc, scaled, Inner

    return step


def test_all_kinds_of_variables():
    result = variables(outer().__code__)
    read = {name: chains for name, chains in result.globals.items() if name[:2] != "__"}
    assert read == {
        "CONSTANT": {()}, "SCALE": {()}, "CONFIG": {("model", "lr")}, "helper": {()}, "range": {()}, "super": {()},
        "type": {()},
    }  # fmt: skip
    assert result.enclosing == {"count": {()}, "net": {("bias", "x"), ("w",)}}
    assert result.assigned_globals == {"COUNT"}
    assert result.assigned_enclosing == {"count"}
    assert result.imported == {"collections": {("abc",), ("deque",)}, "json": {("dumps",)}, "os": {("path", "join")}}
    assert result.attributes >= {"bias", "dumps", "forward", "join", "lr", "model", "path", "q", "w", "x", "z"}


def test_a_function_of_its_own_variables_only():
    def step(x):
        total = x + 1

        def inner(y):
            return y + total

        return inner(x)

    result = variables(step.__code__)
    assert not result.globals
    assert not result.enclosing
    assert not result.imported


def test_what_imports_lead_to():
    source = """def step(x):
        import one, two.inner, two.other as t, three.inner.most as m
        from .config import rate, scale as s
        from .. import parent
        import of_lambda
        class Inner:
            import of_class
        return (x, one), two.inner.a, t.b, m.c, rate, s.d, parent.e, lambda: of_lambda.f"""
    namespace = {}
    exec(source, namespace)  # noqa: S102
    assert variables(namespace["step"].__code__).imported == {
        "one": {()}, "two": {("inner", "a"), ("other", "b")}, "three": {("inner", "most", "c")},
        ".config": {("rate",), ("scale", "d")}, "..": {("parent", "e")}, "of_lambda": {("f",)}, "of_class": {()},
    }  # fmt: skip
