"""Tests for e2e/vendor.test.js: vendor.py TEST..., with REST_URL and others in the environment.

Prints the failures, as a JSON object of tracebacks by test. One process runs all tests, because importing the SDK takes seconds.
"""

import datetime
import importlib.metadata
import json
import os
import sys
import traceback

import mixpeek
from mixpeek.exceptions import ApiException, NotFoundException, UnprocessableEntityException

RETRIEVER = os.environ["REST_RETRIEVER"]
# Versions before 1.3.779 expect 201 for a creation, and FastAPI's format for 422.
OLD = tuple(map(int, importlib.metadata.version("mixpeek").split("."))) < (1, 3, 779)


def connect(key):
    configuration = mixpeek.Configuration(host=os.environ["REST_URL"])
    configuration.retries = False  # otherwise urllib3 waits for Retry-After and retries
    client = mixpeek.ApiClient(configuration)
    client.set_default_header("Authorization", f"Bearer {key}")
    client.set_default_header("X-Namespace", os.environ["REST_NAMESPACE"])
    return mixpeek.RetrieverAPIKeysApi(client)


def raised(kind, call, *args, **named):
    try:
        call(*args, **named)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def make(api, **settings):
    request = mixpeek.CreateRetrieverAPIKeyRequest(**settings)
    if not OLD:
        return api.create_retriever_key(RETRIEVER, request)
    # The old version does not parse the body of a 200 but returns it.
    answer = api.create_retriever_key_without_preload_content(RETRIEVER, request)
    assert answer.status == 200, answer.status
    return mixpeek.RetrieverAPIKeyResponse.from_json(answer.read().decode())


def create(api):
    end = datetime.datetime(2999, 1, 1, 12, 30, 0, 123456, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    made = make(api, name="vendor", description="made by the SDK", expires_at=end, allowed_origins=["https://*.example.com"])
    assert made.key.startswith("ret_sk_") and len(made.key) == 60
    assert made.key_type == "retriever" and made.status == "active" and made.is_internal is False
    assert made.expires_at == end.replace(microsecond=123000), made.expires_at
    assert made.allowed_origins == ["https://*.example.com"]
    assert make(api, name="bare", description=None, expires_at=None, allowed_origins=None).expires_at is None


def lists(api):
    answer = api.list_retriever_keys(RETRIEVER)
    keys = {key.key_id: key for key in answer.results}
    assert answer.total == len(keys), answer.total
    for kind in ["standard", "marketplace_subscription", "retriever", "user_scoped", "session"]:
        assert keys[f"key_vendor_{kind}"].key_type == kind
    assert keys["key_vendor_bare"].key_type == "standard" and keys["key_vendor_bare"].is_internal is False
    assert keys["key_vendor_internal"].is_internal is True
    assert len(keys["key_vendor_resources"].scopes) == 16
    assert [str(p.value) for p in keys["key_vendor_permissions"].permissions] == ["read", "write", "delete", "admin"]


def newer(api):
    answer = api.list_retriever_keys_without_preload_content(RETRIEVER, include_revoked=True)
    (key,) = [key for key in json.loads(answer.read())["results"] if key["key_id"] == "key_vendor_newer"]
    assert key["key_type"] == "robot" and key["permissions"] == ["fly"] and key["status"] == "revoked", key
    assert key["scopes"][0]["operations"] == ["orbit"] and key["scopes"][1]["resource_type"] == "galaxy", key


def revoke(api):
    made = make(api, name="to be revoked")
    for _ in range(2):
        assert api.revoke_retriever_key(RETRIEVER, made.key_id)
    assert made.key_id not in [key.key_id for key in api.list_retriever_keys(RETRIEVER).results]


def invalid(api):
    request = mixpeek.CreateRetrieverAPIKeyRequest(name="vendor", expires_at=datetime.datetime(2999, 1, 1))
    error = raised(UnprocessableEntityException, api.create_retriever_key, RETRIEVER, request)
    if OLD:
        (item,) = error.data.detail
        assert [step.actual_instance for step in item.loc] == ["body", "expires_at"], item
        assert item.type == "timezone_aware" and "end it with Z" in item.msg, item
    else:
        assert error.data.error.type == "ValidationError" and error.data.status == 422
        (item,) = error.data.error.details["validation_errors"]
        assert item["location"] == ["body", "expires_at"] and "end it with Z" in item["message"], item


def missing(api):
    for call in [lambda: api.list_retriever_keys("none"), lambda: api.revoke_retriever_key(RETRIEVER, "key_none")]:
        error = raised(NotFoundException, call)
        assert error.data.error.type == "NotFoundError" and error.data.status == 404


def limited(_):
    api = connect(os.environ["REST_LIMITED_KEY"])
    for _ in range(2):  # its only request may be used already
        try:
            api.list_retriever_keys(RETRIEVER)
        except ApiException as error:
            assert error.status == 429 and error.headers["X-RateLimit-Window"] == "60", error.headers
            details = json.loads(error.body)["error"]["details"] if OLD else error.data.error.details
            assert details == {"limit": 1, "window": 60, "retry_after": int(error.headers["Retry-After"])}, details
            return
    raise AssertionError("two requests passed")


if __name__ == "__main__":
    tests = {"create": create, "lists": lists, "newer": newer, "revoke": revoke, "invalid": invalid, "missing": missing, "limited": limited}
    failures = {}
    for name in sys.argv[1:]:
        try:
            tests[name](connect(os.environ["REST_KEY"]))
        except Exception:
            failures[name] = traceback.format_exc()
    print(json.dumps(failures))
