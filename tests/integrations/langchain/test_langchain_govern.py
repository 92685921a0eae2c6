"""What govern accepts, what it gives back, and that no way around the guard leads through a
governed tool.
"""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool, tool

from guardrail import ConfigError, UsageError
from guardrail.integrations.langchain import govern
from guardrail.testing import StaticPolicy, allow, memory_guard
from tests.support.langchain import RUNS, WeatherClass, weather


def test_one_tool_gives_one_tool_and_many_give_a_list(bench: Any) -> None:
    """The type of the original, in its order."""
    made = govern(weather, bench.guard)
    assert isinstance(made, type(weather))
    assert made is not weather
    many = govern((weather, WeatherClass()), bench.guard)
    assert [type(item).__mro__[2] for item in many] == [StructuredTool, WeatherClass]
    assert govern([], bench.guard) == []


@pytest.mark.call_path(
    "LangChain",
    "the original tool object",
    result="not governed",
    note="the program kept it; pass on only the tools that `govern` returns",
)
def test_the_original_is_not_changed(bench: Any) -> None:
    """It stays what it was, and stays ungoverned."""
    before = dict(weather.__dict__)
    govern(weather, bench.guard)
    assert weather.__dict__ == before
    assert type(weather) is StructuredTool
    assert weather.invoke({"city": "Bern"}) == "sun in Bern"
    assert bench.decisions == []


def test_a_governed_tool_is_not_governed_twice(bench: Any) -> None:
    """The same object comes back, alone and in a list."""
    made = govern(weather, bench.guard, labels=["read"])
    assert govern(made, bench.guard) is made
    assert govern([made], bench.guard)[0] is made
    made.invoke({"city": "Bern"})
    assert len(bench.decisions) == 1


def test_other_options_for_a_governed_tool_are_refused(bench: Any) -> None:
    """They would be ignored without a word."""
    made = govern(weather, bench.guard, labels=["read"])
    with pytest.raises(UsageError, match="different options"):
        govern(made, bench.guard, labels=["write"])


def test_a_tool_of_another_guard_is_refused(bench: Any) -> None:
    """Two guards would record one execution twice."""
    other, _ = memory_guard(StaticPolicy(allow()))
    with pytest.raises(UsageError, match="a different guard"):
        govern(govern(weather, other), bench.guard)


def test_another_schema_under_a_known_name_is_refused(bench: Any) -> None:
    """Records could not say which of the two ran."""
    govern(weather, bench.guard)

    @tool("weather")
    def other(place: str) -> str:
        """Tell the weather."""
        return place

    with pytest.raises(ConfigError):
        govern(other, bench.guard)


@pytest.mark.call_path(
    "LangChain",
    "`govern` of a tool that the provider runs (a dict)",
    result="refused",
    note="the provider runs its body",
)
@pytest.mark.parametrize("wrong", [{"type": "web_search"}, [{"type": "web_search"}]])
def test_a_tool_of_the_provider_is_refused(bench: Any, wrong: Any) -> None:
    """It runs where no guard is."""
    with pytest.raises(UsageError) as caught:
        govern(wrong, bench.guard)
    assert caught.value.code == "usage.provider_tool"


@pytest.mark.parametrize("wrong", [print, [print], 5, None, "weather"])
def test_what_is_no_tool_is_refused(bench: Any, wrong: Any) -> None:
    """With a hint where a function only lacks its decorator."""
    with pytest.raises(UsageError) as caught:
        govern(wrong, bench.guard)
    assert caught.value.code == "usage.tool"


@pytest.mark.call_path(
    "LangChain",
    "a tool class with its own `invoke`, `run`, `batch` or `stream`",
    result="refused",
    note="its code would run before the guard",
)
@pytest.mark.parametrize("entry", ["run", "arun", "invoke", "ainvoke", "stream", "batch"])
def test_a_class_with_an_entry_of_its_own_is_refused(bench: Any, entry: str) -> None:
    """Its code there would run before the guard, or without it."""
    cls = type(
        "Sneaky",
        (WeatherClass,),
        {entry: lambda self, *args, **kwargs: RUNS.append("unseen"), "__module__": __name__},
    )
    with pytest.raises(UsageError) as caught:
        govern(cls(), bench.guard)
    assert caught.value.code == "usage.entry"
    assert entry in str(caught.value)


@pytest.mark.call_path(
    "LangChain",
    "pickle",
    result="refused",
    note="a guard belongs to one process; govern the tool where it is loaded",
)
def test_a_governed_tool_can_t_be_pickled_and_says_why(bench: Any) -> None:
    """A guard lives in one process; an ungoverned copy must not come out at the other end."""
    for original in (weather, WeatherClass()):
        with pytest.raises(UsageError, match="pickle") as caught:
            pickle.dumps(govern(original, bench.guard))
        assert "govern it after it is loaded" in caught.value.hint


@pytest.mark.parametrize("original", [weather, WeatherClass()], ids=["function", "class"])
def test_every_copy_stays_governed(bench: Any, original: BaseTool) -> None:
    """copy, deepcopy, model_copy with and without deep."""
    made = govern(original, bench.guard)
    copies = [copy.copy(made), copy.deepcopy(made), made.model_copy(), made.model_copy(deep=True)]
    for item in copies:
        item.invoke({"city": "Bern"})
    assert len(bench.decisions) == len(bench.outcomes) == len(RUNS) == 4
    assert all(govern(item, bench.guard) is item for item in copies)


def test_a_renamed_copy_is_decided_under_its_new_name(bench: Any) -> None:
    """What the model calls is what the policy judges."""
    made = govern(weather, bench.guard, labels=["read"]).model_copy(update={"name": "climate"})
    made.invoke({"city": "Bern"})
    assert bench.decisions[0]["tool"]["name"] == "climate"
    assert bench.policy.inputs[0]["resource"]["properties"]["labels"] == ["read"]


def test_a_function_that_is_put_in_later_is_governed(bench: Any) -> None:
    """Whoever replaces func gets the new body under the same guard."""
    made = govern(weather, bench.guard)
    made.func = lambda city: RUNS.append("new")
    made.invoke({"city": "Bern"})
    assert RUNS == ["new"]
    assert len(bench.decisions) == len(bench.outcomes) == 1


@pytest.mark.parametrize("original", [weather, WeatherClass()], ids=["function", "class"])
def test_no_attribute_leads_to_the_body(bench: Any, original: BaseTool) -> None:
    """Every callable that hangs on a governed tool and reaches the body goes through the guard."""
    made = govern(original, bench.guard)
    raw = getattr(original, "func", None) or type(original)._run
    reachable = [
        getattr(made, name) for name in ("func", "coroutine", "_run") if getattr(made, name, None)
    ]
    for function in reachable:
        assert function is not raw
        assert inspect.unwrap(function) is function
        assert getattr(function, "__func__", None) is not raw
    assert raw not in made.__dict__.values()
    assert raw not in made.model_dump().values()
    made._run(city="Bern", **({"config": {}} if original is weather else {}))
    assert len(bench.decisions) == len(bench.outcomes) == 1


def test_a_governed_function_keeps_its_signature(bench: Any) -> None:
    """Name, docstring, parameters and resolved annotations, although they were written as
    strings.
    """
    made = govern(weather, bench.guard)
    assert made.func is not None
    assert weather.func is not None
    assert made.func.__name__ == "weather"
    assert made.func.__doc__ == weather.func.__doc__
    signature = inspect.signature(made.func)
    assert [(item.name, item.annotation) for item in signature.parameters.values()] == [
        ("city", str)
    ]


def test_classes_are_made_once_per_tool_class_and_freed(bench: Any) -> None:
    """One class for any number of its tools, and none is kept once its tools are gone."""
    first, second = govern(WeatherClass(), bench.guard), govern(WeatherClass(), bench.guard)
    assert type(first) is type(second)

    def short_lived() -> None:
        cls = type("Passing", (WeatherClass,), {"__module__": __name__})
        govern(cls(name="passing"), bench.guard).invoke({"city": "Bern"})

    for _ in range(10):
        short_lived()
    gc.collect()
    # pydantic itself keeps the last ones for a while, governed or not.
    assert len([cls for cls in WeatherClass.__subclasses__() if cls.__name__ == "Passing"]) < 5


def test_the_adapter_says_what_to_install_where_langchain_is_missing() -> None:
    """A base install has no framework; importing guardrail itself asks for none."""
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "import guardrail\n"
        "try:\n    import guardrail.integrations.langchain\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "install guardrail with the 'langchain' extra" in done.stdout
