import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.gateway_access import (
    OPEN_PATHS,
    access_clusters,
    access_filters,
    access_listeners,
    access_replies,
    check_access,
)
from ratchet.core.errors import SettingsError
from ratchet.settings import Settings

SOCKET = Path("/run/keys.sock")
PUBLIC = {"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}]}


def test_a_gateway_that_requires_nothing_has_no_filter_more() -> None:
    settings = Settings()
    check_access(settings)
    parts = (access_filters(settings), access_replies(settings))
    assert (*parts, access_clusters(settings, keys_socket=SOCKET), access_listeners(settings, keys_socket=SOCKET)) == (
        *([], []),
        *([], []),
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"access_issuer": "me"}, "RATCHET_ACCESS_JWKS is not", id="issuer-without-keys"),
        pytest.param({"access_jwks": "keys.json"}, "RATCHET_ACCESS_ISSUER is not", id="keys-without-issuer"),
        pytest.param(
            {"access_issuer": "me", "access_jwks": "https://me/keys", "access_audience": ""},
            "RATCHET_ACCESS_AUDIENCE is not",
            id="for-anybody",
        ),
        pytest.param({"access_issuer": "me", "access_jwks": "https://"}, "expected a URL", id="url-without-host"),
        pytest.param({"access_issuer": "me", "access_jwks": "http://a:b"}, "expected a URL", id="port-is-no-number"),
        pytest.param({"access_issuer": "me", "access_jwks": "gone.json"}, "No such file", id="no-such-file"),
    ],
)
def test_settings_that_would_let_no_request_or_any_through_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_access(Settings(**values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(json.dumps(PUBLIC), "", id="public-key"),
        pytest.param('{"keys": []}', "no key", id="empty"),
        pytest.param(
            '{"keys": [{"kty": "EC"}, {"kty": "oct", "k": "c2VjcmV0"}]}', "secret key", id="secret-among-them"
        ),
        pytest.param('{"keys": [{}]}', "no readable set", id="key-without-a-kind"),
        pytest.param('{"keys": 3}', "no readable set", id="no-list"),
        pytest.param("[]", "no readable set", id="no-object"),
        pytest.param("-----BEGIN PUBLIC KEY-----", "no readable set", id="pem"),
        pytest.param(json.dumps({**PUBLIC, "x": "x" * 65_536}), "the limit is 65,536", id="too-long"),
    ],
)
def test_a_file_of_keys_is_looked_at_before_the_gateway_starts(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    settings = Settings(access_issuer="me", access_jwks=str(path))
    if not message:
        check_access(settings)
        return
    with pytest.raises(SettingsError, match=message) as refused:
        check_access(settings)
    assert str(path) in str(refused.value) and "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/v2/models/digits/ready", True),
        ("/v1/models/digits", True),
        ("/v1/models/digits:predict", False),
        ("/v2/models/digits", False),
        ("/v2/models/digits/infer", False),
        ("/v2/models/digits/versions/1/ready", False),
        ("/v1/feedback", False),
    ],
)
def test_readiness_alone_is_open(path: str, is_open: bool) -> None:
    assert bool(re.fullmatch(OPEN_PATHS, path)) == is_open


@pytest.mark.parametrize(
    ("rate_per_s", "burst", "max_tokens", "num_tokens", "fill_s", "retry_after"),
    [
        pytest.param(0.01, 0, 1, 1, "100.000s", "100", id="one-in-a-hundred-seconds"),
        pytest.param(0.5, 0, 1, 30, "60.000s", "2", id="slower-than-one-a-second"),
        pytest.param(1, 0, 1, 60, "60.000s", "1", id="one"),
        pytest.param(2.5, 0, 3, 150, "60.000s", "1", id="a-fraction"),
        pytest.param(100, 7, 7, 6000, "60.000s", "1", id="burst-below-the-rate"),
        pytest.param(1_000_000, 1_000_000, 1_000_000, 60_000_000, "60.000s", "1", id="greatest"),
    ],
)
def test_a_rate_is_a_bucket(
    rate_per_s: float, burst: int, max_tokens: int, num_tokens: int, fill_s: str, retry_after: str
) -> None:
    settings = Settings(access_rate_per_s=rate_per_s, access_burst=burst)
    (rate,) = access_filters(settings)
    (descriptor,) = rate["typed_config"]["descriptors"]
    bucket = {"max_tokens": max_tokens, "tokens_per_fill": num_tokens, "fill_interval": fill_s}
    assert descriptor["token_bucket"] == bucket
    (reply,) = access_replies(settings)
    assert reply["headers_to_add"][0]["header"] == {"key": "retry-after", "value": retry_after}


@given(issuer=st.text(min_size=1), audience=st.text(min_size=1))
def test_no_text_of_the_settings_is_a_command_of_envoy(issuer: str, audience: str) -> None:
    settings = Settings(access_issuer=issuer, access_audience=audience, access_jwks="https://me/100%")
    for reply in access_replies(settings):
        text = reply["body_format_override"]["json_format"]["error"].replace("%LOCAL_REPLY_BODY%", "")
        assert text.replace("%%", "").count("%") == 0
