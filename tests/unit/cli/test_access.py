import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from ratchet.settings import load_settings

ISSUER = {"RATCHET_ACCESS_ISSUER": "https://me", "RATCHET_ACCESS_JWKS": "https://me/jwks.json"}


def run(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *words: str) -> tuple[int, str, str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    done = CliRunner().invoke(app, ["access", "manifests", *words])
    load_settings.cache_clear()
    return done.exit_code, done.stdout, f"{done.stderr}{done.exception or ''}"


def test_the_policy_is_printed_as_yaml_and_what_is_missing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, said = run(monkeypatch, {**ISSUER, "RATCHET_ACCESS_RATE_PER_S": "5"}, "--selector", "istio=ingress")
    assert code == 0 and "RATCHET_ACCESS_RATE_PER_S is not rendered" in " ".join(said.split())
    kinds = [each["kind"] for each in yaml.safe_load_all(printed)]
    assert kinds == ["RequestAuthentication", "AuthorizationPolicy", "EnvoyFilter"]


@pytest.mark.parametrize(
    ("variables", "words", "message"),
    [
        pytest.param(ISSUER, ("--selector", "istio"), "expected LABEL=VALUE", id="label-without-value"),
        pytest.param({"RATCHET_ACCESS_ISSUER": "me"}, (), "RATCHET_ACCESS_JWKS is not", id="issuer-without-keys"),
    ],
)
def test_a_policy_that_would_not_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: tuple[str, ...], message: str
) -> None:
    code, printed, said = run(monkeypatch, variables, *words)
    assert code != 0 and message in said and not printed
