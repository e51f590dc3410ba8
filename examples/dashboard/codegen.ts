import type { CodegenConfig } from "@graphql-codegen/cli";

// Generates types for the operations in src/ from the server's schema.
export default {
  schema: "../../schema.graphqls",
  documents: "src/**/*.tsx",
  generates: {
    "src/gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: { enumsAsTypes: true, useTypeImports: true, strictScalars: true, scalars: { Date: "string", DateTime: "string", Long: "number" } },
    },
  },
} satisfies CodegenConfig;
