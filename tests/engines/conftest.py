"""The suite's assertions live in the package; pytest is to explain them as it does its own."""

import pytest

pytest.register_assert_rewrite("stoker.testing.engine_suite")
