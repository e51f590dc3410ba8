// The rules of GraphQL's and Relay's conventions, for schema.graphqls.
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
      // A description is a line where it fits on one, and a block where it does not.
      "@graphql-eslint/description-style": "off",
      // These are values and places in a list: nothing can be asked for by their id.
      "@graphql-eslint/strict-id-in-types": ["error", {
        exceptions: { suffixes: ["Connection", "Edge", "Payload", "Info"], types: ["Viewer", "ApiKeyScope", "AuditChange"] },
      }],
      "@graphql-eslint/relay-edge-types": ["error", {
        // Connections have `results` beside `edges`, for who needs no cursors, and keys have lists of values.
        listTypeCanWrapOnlyEdgeType: false,
        // An audit event is read as part of its retriever's trail alone: `node` does not find it.
        shouldImplementNode: false,
      }],
    },
  },
];
