"""What `import stoker` promises, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stoker


@pytest.mark.parametrize("name", stoker.__all__)
def test_every_public_name_is_there(name):
    assert getattr(stoker, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = stoker.nonsense


def test_importing_stoker_loads_neither_server_nor_client():
    code = "import stoker, sys; print([m for m in ('aiohttp', 'uvicorn') if m in sys.modules])"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_naming_the_client_loads_no_http_library_before_something_connects():
    code = "from stoker import Client; import sys; Client(); print('aiohttp' in sys.modules)"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "False"
