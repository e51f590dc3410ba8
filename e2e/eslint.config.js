// Rules for schema.graphqls: the conventions of GraphQL and Relay.
import { join } from "node:path";
import graphql from "@graphql-eslint/eslint-plugin";

export default [
  {
    files: ["**/*.graphqls"],
    plugins: { "@graphql-eslint": graphql },
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: join(import.meta.dirname, "../schema.graphqls") } },
    },
    rules: {
      ...graphql.configs["flat/schema-recommended"].rules,
      ...graphql.configs["flat/schema-relay"].rules,
      // Every element, not only types.
      "@graphql-eslint/require-description": ["error", {
        types: true, DirectiveDefinition: true, FieldDefinition: true, InputValueDefinition: true, EnumValueDefinition: true,
      }],
      // Descriptions that fit on one line are lines, others are blocks.
      "@graphql-eslint/description-style": "off",
      // These types are values or positions in a list, so they have no id.
      "@graphql-eslint/strict-id-in-types": ["error", {
        exceptions: { suffixes: ["Connection", "Edge", "Payload", "Info"], types: ["Viewer", "ApiKeyScope", "AuditChange", "ApiKeyCheck", "ApiKeyUsage", "ApiKeyUsageDay", "ApiKeyPolicy", "ApiKeyReport", "ApiKeyLeak", "LeakedKeyResult"] },
      }],
      "@graphql-eslint/relay-edge-types": ["error", {
        // Connections also have `results`, for clients that need no cursors, and keys have lists of values.
        listTypeCanWrapOnlyEdgeType: false,
        // Audit events are available only through their retriever, not through `node`.
        shouldImplementNode: false,
      }],
    },
  },
];
