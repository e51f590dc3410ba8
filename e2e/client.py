"""Tests for e2e/python.test.js: client.py TEST, with GRAPHQL_URL and GRAPHQL_HEADERS in the environment."""

import json
import os
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.requests import RequestsHTTPTransport
from graphql import DirectiveLocation, build_client_schema, get_introspection_query, print_schema, validate_schema

RETRIEVER = "product-search"


def connect():
    transport = RequestsHTTPTransport(url=os.environ["GRAPHQL_URL"], headers=json.loads(os.environ["GRAPHQL_HEADERS"]), retries=0)
    return Client(transport=transport, fetch_schema_from_transport=True, parse_results=True)


def schema(client):
    with client as session:
        assert "ApiKeyConnection" in session.client.schema.type_map
        query = get_introspection_query(
            specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
        )
        built = build_client_schema(session.execute(gql(query), parse_result=False))
    assert validate_schema(built) == [], validate_schema(built)
    assert "type ApiKey implements Node" in print_schema(built)
    assert built.type_map["DateTime"].specified_by_url
    assert list(built.get_directive("deprecated").locations) == [
        DirectiveLocation.FIELD_DEFINITION,
        DirectiveLocation.ARGUMENT_DEFINITION,
        DirectiveLocation.INPUT_FIELD_DEFINITION,
        DirectiveLocation.ENUM_VALUE,
    ]


def variables(client):
    query = gql(
        """
        query ($id: ID!, $first: Int, $revoked: Boolean, $filter: ApiKeyFilter, $order: ApiKeyOrder) {
          retriever(id: $id) {
            apiKeys(first: $first, includeRevoked: $revoked, filter: $filter, orderBy: $order) { results { keyId status createdAt } total }
          }
        }
        """
    )
    with client as session:
        values = {
            "id": RETRIEVER,
            "first": 2,
            "revoked": True,
            "filter": {"status": ["ACTIVE", "REVOKED"], "unusedSince": "2999-01-01T00:00:00Z"},
            "order": {"field": "NAME", "direction": "ASC"},
        }
        whole = session.execute(query, variable_values=values)
        assert whole["retriever"]["apiKeys"]["results"], whole
        # Python writes an integral float as 2.0, at any depth.
        assert session.execute(query, variable_values={**values, "first": 2.0}) == whole
        # A single status means a list of one, and null restricts nothing.
        active = session.execute(query, variable_values={**values, "filter": {"status": "ACTIVE"}})
        assert {key["status"] for key in active["retriever"]["apiKeys"]["results"]} == {"ACTIVE"}
        session.execute(query, variable_values={"id": RETRIEVER, "first": None, "filter": None})


def pages(client):
    query = gql(
        """
        query ($id: ID!, $after: String) {
          retriever(id: $id) {
            apiKeys(first: 1, after: $after, includeRevoked: true) { edges { cursor node { keyId } } pageInfo { hasNextPage endCursor } total }
          }
        }
        """
    )
    seen, after = [], ""
    with client as session:
        while True:
            keys = session.execute(query, variable_values={"id": RETRIEVER, "after": after})["retriever"]["apiKeys"]
            seen += [edge["node"]["keyId"] for edge in keys["edges"]]
            if not keys["pageInfo"]["hasNextPage"]:
                break
            after = keys["pageInfo"]["endCursor"]
    assert len(seen) == len(set(seen)) == keys["total"] > 1, seen


def errors(client):
    def code(text, values):
        try:
            session.execute(gql(text), variable_values=values)
        except TransportQueryError as error:
            return error.errors[0]["extensions"]["code"]
        raise AssertionError("there is no error")

    with client as session:
        assert code("query ($id: ID!) { retriever(id: $id) { id } }", {"id": "none"}) == "NOT_FOUND"
        page = "query ($n: Int) { retrievers(first: $n) { total } }"
        assert code(page, {"n": 1001}) == "BAD_USER_INPUT"
        assert code(page, {"n": 2.5}) == "GRAPHQL_VALIDATION_FAILED"
        order = "query ($id: ID!, $o: ApiKeyOrder) { retriever(id: $id) { apiKeys(orderBy: $o) { total } } }"
        assert code(order, {"id": RETRIEVER, "o": {"field": "NAME", "direction": "asc"}}) == "GRAPHQL_VALIDATION_FAILED"


if __name__ == "__main__":
    {"schema": schema, "variables": variables, "pages": pages, "errors": errors}[sys.argv[1]](connect())
