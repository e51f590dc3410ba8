// GraphQL Mesh's composition. Hive Gateway serves the result, as Mesh's documentation recommends.
import { composeSubgraphs } from "@graphql-mesh/fusion-composition";
import { buildASTSchema, parse } from "graphql";
import { serve } from "./hive.js";

export function compose(subgraphs) {
  const { supergraphSdl, errors } = composeSubgraphs(
    subgraphs.map(({ name, url, sdl }) => ({ name, url, schema: buildASTSchema(parse(sdl), { assumeValid: true, assumeValidSDL: true }) })),
  );
  if (errors?.length) throw new AggregateError(errors, errors.map((e) => e.message).join("\n"));
  return supergraphSdl;
}

export const start = (subgraphs) => serve(compose(subgraphs));
