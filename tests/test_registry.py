import pytest

from tf_transfer.errors import UserError
from tf_transfer.registry import Registry, Spec, parse_spec, split_list, unknown_name


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("coral", Spec("coral")),
        ("  coral ", Spec("coral")),
        ("coral()", Spec("coral")),
        ("coral(0.5)", Spec("coral", (0.5,))),
        ("coral(weight=0.5, steps=3)", Spec("coral", (), {"weight": 0.5, "steps": 3})),
        ("coral(1, 'two', three=[4, 5])", Spec("coral", (1, "two"), {"three": [4, 5]})),
        ("step(at=(0.3, 0.6), factor=1e-2)", Spec("step", (), {"at": (0.3, 0.6), "factor": 0.01})),
        ("a(x=True, y=true, z=FALSE, w=none)", Spec("a", (), {"x": True, "y": True, "z": False, "w": None})),
        ("folder(path=/data/my pictures)", Spec("folder", (), {"path": "/data/my pictures"})),
        ("folder(path='a, b (c).txt')", Spec("folder", (), {"path": "a, b (c).txt"})),
        ("folder(/data/a=b)", Spec("folder", ("/data/a=b",))),
        ("folder(path=a=b)", Spec("folder", (), {"path": "a=b"})),
        ("csv(path=x.csv,)", Spec("csv", (), {"path": "x.csv"})),
        ("a (b = 1)", Spec("a", (), {"b": 1})),
        ("a(b=__import__('os').getcwd())", Spec("a", (), {"b": "__import__('os').getcwd()"})),  # text, not code
    ],
)
def test_specs_are_names_with_literals(text, spec):
    assert parse_spec(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected name"),
        ("(a=1)", "Expected name"),
        ("coral(1", r"Expected name or name\(key=value, ...\), got 'coral\(1'"),
        ("coral)", "Expected name"),
        ("coral(1) x", "Expected name"),
        ("coral(a=1, a=2)", "gives 'a' twice"),
        ("coral(a=1, 2)", "'2' follows key=value; give it a key too"),
        ("co\nral(", "got 'co ral"),
    ],
)
def test_other_texts_are_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as e:
        parse_spec(text)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("a", ["a"]),
        ("a, b,,c ,", ["a", "b", "c"]),
        ("a(1,2),b[3,4],{5,6}", ["a(1,2)", "b[3,4]", "{5,6}"]),
        ("'a,b',\"c,'d\"", ["'a,b'", '"c,\'d"']),
        ("'(',b", ["'('", "b"]),
    ],
)
def test_lists_are_split_outside_quotes_and_brackets(text, parts):
    assert split_list(text) == parts


def test_an_unknown_name_lists_all_the_nearest_first():
    error = unknown_name("--phase", "evalute", ["all", "evaluate", "export", "head"])
    assert isinstance(error, UserError)
    assert str(error) == "Unknown --phase 'evalute'. Did you mean 'evaluate'? Known: evaluate, all, export, head."
    assert str(unknown_name("thing", "zzz\n", ["b", "a"])) == "Unknown thing 'zzz'. Known: b, a."


@pytest.fixture
def colours():
    registry = Registry("colour")

    @registry.register("red")
    def red(
        context, depth: int = 1, share: float = 0.5, bright: bool = False, at: tuple = (), name: str = "", *, ink=0
    ):
        return context, depth, share, bright, at, name, ink

    registry.register("blue")(lambda: "blue")
    return registry


def test_a_registry_makes_what_a_spec_names(colours):
    assert colours.names() == ["blue", "red"] and "red" in colours and "green" not in colours
    assert colours.create("blue") == "blue"
    assert colours.create("red", "here") == ("here", 1, 0.5, False, (), "", 0)
    assert colours.create("red(2, share=1, at=3, name=x)", "here", ink=7) == ("here", 2, 1, False, 3, "x", 7)
    assert colours.create(Spec("red", (4,)), "here")[1] == 4


def test_registering_returns_the_factory_and_refuses_a_name_twice(colours):
    factory = object()
    assert colours.register("green")(factory) is factory
    with pytest.raises(ValueError, match="The colour 'green' is already registered"):
        colours.register("green")(factory)
    assert colours.factory("green") is factory


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rad", r"Unknown colour 'rad'. Did you mean 'red'\? Known: red, blue"),
        ("blue(1)", r"The colour 'blue': too many positional arguments. It takes: nothing"),
        ("red(height=1)", r"The colour 'red': .*'height'. It takes: depth, share, bright, at, name, ink"),
        ("red(1.5)", r"The colour 'red': expected a whole number for depth, got '1.5'"),
        ("red(share=much)", "expected a number for share, got 'much'"),
        ("red(share=True)", "expected a number for share"),
        ("red(bright=1)", "expected True or False for bright"),
        ("red(at=early)", "expected a tuple or a number for at"),
    ],
)
def test_arguments_that_do_not_fit_are_told(colours, spec, message):
    with pytest.raises(UserError, match=message):
        colours.create(spec, *(["here"] if spec.startswith("red") else []))


def test_an_error_inside_a_factory_is_its_own():
    registry = Registry("thing")

    @registry.register("broken")
    def broken():
        raise TypeError("inside")

    with pytest.raises(TypeError, match="inside"):
        registry.create("broken")


def test_a_parameter_of_texts_gets_what_was_written():
    registry = Registry("source")

    @registry.register("folder")
    def folder(path: str, layout: str | None = None, share: float = 0.1):
        return path, layout, share

    for text in ("none", "true", "1e3", "007", "1_000", "(a, b)"):
        assert registry.create(f"folder(path={text}, layout={text}, share=0.5)") == (
            text,
            None if text == "none" else text,
            0.5,
        )
        assert registry.create(f"folder({text})") == (text, None, 0.1)
    assert registry.create("folder('none', layout=None)") == ("none", None, 0.1)
