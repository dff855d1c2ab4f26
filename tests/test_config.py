"""Settings: where they come from, which wins, and what an error says."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.config import Config, EngineConfig, JobsConfig, describe, keys
from stoker.core.errors import ConfigError
from stoker.core.policy import Policy
from stoker.settings import Flag, load

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "configuration.md"


def write(folder: Path, text: str) -> Path:
    path = folder / "stoker.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = load(environ={"XDG_CONFIG_HOME": str(tmp_path)})

    assert settings.config == Config()
    assert set(settings.origins.values()) == {"default"}


def test_environment_beats_file_and_flag_beats_both(tmp_path):
    file = write(tmp_path, "[server]\nport = 1\nhost = '::1'\n[policy]\np0_linger_s = 1\n")
    environ = {"STOKER_SERVER__PORT": "2", "STOKER_POLICY__P0_LINGER_S": "2.5"}

    settings = load(file=file, environ=environ, flags={"server.port": Flag("--port", "3")})

    assert settings.config.server.port == 3
    assert settings.config.server.host == "::1"
    assert settings.config.policy.p0_linger_s == 2.5
    assert settings.origins["server.port"] == "--port"
    assert settings.origins["policy.p0_linger_s"] == "$STOKER_POLICY__P0_LINGER_S"
    assert settings.origins["server.host"] == f"{file}:server.host"


def test_file_is_found_in_the_folder_then_in_the_config_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "stoker").mkdir(parents=True)
    write(home / "stoker", "[server]\nport = 1111\n")
    monkeypatch.chdir(tmp_path)
    environ = {"XDG_CONFIG_HOME": str(home)}

    assert load(environ=environ).config.server.port == 1111

    write(tmp_path, "[server]\nport = 2222\n")
    assert load(environ=environ).config.server.port == 2222


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STOKER_SERVER__PORT": "99999"}, "server.port ($STOKER_SERVER__PORT): '99999' is not"),
        ({"STOKER_SERVER__PRT": "1"}, "did you mean server.port?"),
        ({"STOKER_ENGNE__URL": "x"}, "did you mean engine.url?"),
        ({"STOKER_LOG__LEVEL": "loud"}, "one of debug, info, warning, error"),
        ({"STOKER_POLICY__P0_LINGER_S": "nan"}, "a number of at least 0"),
        ({"STOKER_POLICY__KV_SHARE_P1": "1.5"}, "a number above 0 and at most 1"),
        ({"STOKER_ENGINE__URL": "ftp://x"}, "is not an address such as"),
        ({"STOKER_ENGINE__URL": "http://x:99999"}, "is not an address such as"),
        ({"STOKER_DATA": ""}, "data ($STOKER_DATA)"),
    ],
)
def test_error_names_the_key_its_origin_and_what_is_allowed(environ, said):
    with pytest.raises(ConfigError) as error:
        load(environ=environ)

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nport = 'x'", "server.port"),
        ("[server]\nport = '8080'", "'8080' is not an integer"),
        ("port = 8080", "did you mean server.port?"),
        ("[sever]\nport = 1", "did you mean server.port?"),
        ("[empty]", "empty"),
        ("server = 3", "server ("),
        ("[server", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, said):
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as error:
        load(file=file, environ={})

    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=tmp_path / "none.toml", environ={})


def test_secrets_are_never_shown():
    config = load(environ={"STOKER_ENGINE__API_KEY": "hunter2"}).config

    assert config.engine.api_key == "hunter2"
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError) as error:
        load(environ={"STOKER_ENGINE__URL": "http://me:hunter2@host"})
    assert "hunter2" not in str(error.value)


def test_variables_that_an_orchestrator_injects_are_not_ours():
    environ = {"STOKER_PORT": "tcp://10.0.0.1:80", "STOKER_SERVICE_HOST": "10.0.0.1"}

    assert load(environ=environ).config.server.port == 8080


@pytest.mark.parametrize(
    "build",
    [
        lambda: Config(engine=EngineConfig(url="http://x", gguf=Path("y.gguf"))),
        lambda: Config(jobs=JobsConfig(first_delay_s=10, max_delay_s=1)),
        lambda: Config(policy=Policy(kv_share_p2=0.99)),
        lambda: Config(policy=Policy(p0_linger_s=-1)),
        lambda: Config(engine=EngineConfig(kind="vlm")),
    ],
)
def test_a_config_made_in_code_is_checked_too(build):
    with pytest.raises(ConfigError):
        build()


@given(st.sampled_from(describe()), st.text(max_size=20))
def test_any_text_is_taken_or_refused_as_a_config_error(key, text):
    with contextlib.suppress(ConfigError):
        config = load(environ={key.env: text}).config
        assert dict(config.items()).keys() == keys().keys()


def test_every_key_is_documented():
    assert all(key.doc for key in describe())


def test_the_reference_page_is_what_describe_says():
    from stoker.reference_pages import configuration_page

    assert REFERENCE.read_text(encoding="utf-8") == configuration_page()


# ---------------------------------------------------------------------------- several engines


def test_named_engines_have_the_keys_of_engine_and_their_order_is_kept(tmp_path):
    file = write(
        tmp_path,
        "default_engine = 'small'\n"
        "[engines.big]\nurl = 'http://127.0.0.1:8000'\nmodels = ['gpt-4o', 'claude-*']\n"
        "[engines.small]\n",
    )
    environ = {"STOKER_ENGINES__BIG__REQUESTS": "32", "STOKER_ENGINES__BIG__API_KEY": "secret"}

    settings = load(file=file, environ=environ, flags={"engines.extra": Flag("--engine", {})})

    config = settings.config
    big = config.engines["big"]
    assert list(config.engines) == ["big", "small", "extra"]
    assert list(config.all_engines()) == ["small", "big", "extra"]
    assert (big.url, big.models, big.requests) == (
        "http://127.0.0.1:8000",
        ("gpt-4o", "claude-*"),
        32,
    )
    assert config.engines["small"] == config.engines["extra"] == EngineConfig()
    assert settings.origins["engines.big.requests"] == "$STOKER_ENGINES__BIG__REQUESTS"
    assert "secret" not in repr(config)
    assert ("engines.big.requests", 32) in config.items()


def test_the_unnamed_engine_is_called_default_and_is_one_of_them_only_if_it_is_set():
    named = {"big": EngineConfig(url="http://a:1")}

    assert list(Config().all_engines()) == ["default"]
    assert list(Config(engines=named).all_engines()) == ["big"]
    both = Config(engine=EngineConfig(url="http://b:1"), engines=named)
    assert list(both.all_engines()) == ["default", "big"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[engines.Big]\nurl = 'http://a:1'", "engines.Big (.*): the name of an engine has"),
        ("[engines.big]\nurl = 'nowhere'", "engines.big.url (.*): 'nowhere' is not an address"),
        ("[engines.big]\nurl = 'http://u:p@a:1'", "into engines.big.api_key"),
        ("[engines.big]\nrequests = 0", "engines.big.requests (.*): 0 is not an integer"),
        ("[engines.big]\nurll = 'x'", "engines.big.urll (.*): no such key; did you mean url?"),
        ("[engines]\nbig = 'x'", "engines.big (.*): an engine is a table of keys"),
        ("[engines.a]\nurl='http://a:1'\ngguf='x'", "engines.a.url and engines.a.gguf are both"),
        (
            "[engine]\nurl='http://a:1'\n[engines.b]\nurl='http://a:1/'",
            "engines.b.url is that of engine too",
        ),
        (
            "[engines.a]\nmodels=['m']\n[engines.b]\nmodels=['m']",
            "engines.b.models: 'm' leads to engines.a.models already",
        ),
        ("[engines.a]\nmodels=['b']\n[engines.b]", "engines.a.models: 'b' leads to engines.b"),
        ("[engine]\nrequests=1\n[engines.default]", "engines.default: the engine of"),
        ("default_engine = 'c'\n[engines.a]", "default_engine: no engine is called 'c'; there"),
    ],
)
def test_an_error_about_an_engine_names_its_key(tmp_path, text, said):
    file = write(tmp_path, text)

    with pytest.raises(ConfigError) as error:
        load(file=file, environ={})

    assert re.search(said.replace("(.*)", r"\(.*\)").replace("[", r"\["), str(error.value))
